"""The models: names, defaults, strictness, and how they are written."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from controller.api.endings import EndReason
from controller.api.match import HistoryEntry, Match, MatchSpec, MatchStatus, Participant, TokenDelivery
from controller.api.meta import Condition, ObjectMeta, format_milliseconds
from controller.api.phases import MatchPhase
from controller.api.room import Room, RoomSpec
from tests.api.cluster import match, room

EXAMPLES = Path(__file__).parents[2] / "examples"
NOON = datetime(2026, 1, 31, 12, 0, 0, 250_999, tzinfo=UTC)


def test_defaults_are_those_of_the_design() -> None:
    spec = Match.model_validate(match()).spec
    assert spec.room.manifest() == {
        "maxParticipants": 2,
        "emptyTimeoutSeconds": 30,
        "departureTimeoutSeconds": 20,
        "metadata": {},
    }
    assert spec.timeouts.manifest() == {
        "readySeconds": 30,
        "connectSeconds": 25,
        "leaveSeconds": 3,
        "reconnectSeconds": 15,
        "soloSeconds": 20,
        "maxDurationSeconds": 7200,
    }
    assert spec.tokens.manifest() == {"ttlSeconds": 900, "delivery": "Secret"}
    assert spec.ttl_seconds_after_finished == 300
    assert spec.admission == "Any"
    assert spec.requeue.manifest() == {}


def test_room_defaults_are_those_of_the_design() -> None:
    assert Room.model_validate(room()).spec.manifest() == {
        "maxParticipants": 2,
        "allowedIdentities": [],
        "emptyTimeoutSeconds": 30,
        "departureTimeoutSeconds": 20,
        "metadata": {},
        "maxAgeSeconds": 0,
        "placement": {"serverName": "", "serverSelector": {"matchLabels": {}}},
        "deletionPolicy": "Delete",
        "terminationReason": "",
    }


def test_the_alias_is_what_livekit_sees() -> None:
    assert Participant(identity="alice").livekit_identity == "alice"
    assert Participant(identity="alice", alias="p-91").livekit_identity == "p-91"


@pytest.mark.parametrize(
    ("delivery", "to_secret", "to_redis"),
    [("None", False, False), ("Secret", True, False), ("Redis", False, True), ("Both", True, True)],
)
def test_where_tokens_go(delivery: str, to_secret: bool, to_redis: bool) -> None:
    chosen = TokenDelivery(delivery)
    assert (chosen.to_secret, chosen.to_redis) == (to_secret, to_redis)


def test_names_with_unusual_capitals() -> None:
    assert Match.model_validate(match({"sessionID": "s-1"})).spec.session_id == "s-1"
    status = MatchStatus.model_validate({"sessionID": "s-1", "room": {"name": "r", "liveKitName": "rk-1"}})
    assert status.room is not None
    assert status.room.livekit_name == "rk-1"
    assert status.manifest()["room"] == {"name": "r", "liveKitName": "rk-1"}


def test_an_unknown_field_of_a_spec_is_refused() -> None:
    with pytest.raises(ValidationError, match="conectSeconds"):
        Match.model_validate(match({"timeouts": {"conectSeconds": 3}}))


def test_unknown_fields_of_status_and_metadata_are_ignored() -> None:
    made = match() | {
        "metadata": {"name": "x", "managedFields": [{}]},
        "status": {"phase": "Active", "new": 1},
    }
    assert Match.model_validate(made).status.phase is MatchPhase.ACTIVE


def test_an_absent_status_is_an_empty_one() -> None:
    assert Match.model_validate(match()).status == MatchStatus()
    assert Match.model_validate(match()).status.phase is None


def test_objects_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Match.model_validate(match()).spec.timeouts.connect_seconds = 3  # type: ignore[misc]  # what it may not do


def test_times_are_written_in_utc_with_milliseconds_and_those_of_kubernetes_with_seconds() -> None:
    later = NOON.astimezone(timezone(timedelta(hours=2)))
    assert format_milliseconds(later) == "2026-01-31T12:00:00.250Z"
    assert HistoryEntry(phase=MatchPhase.ACTIVE, time=later).manifest()["time"] == "2026-01-31T12:00:00.250Z"
    condition = Condition(type="Ready", status="True", reason="Ready", last_transition_time=NOON)
    assert condition.manifest()["lastTransitionTime"] == "2026-01-31T12:00:00Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        HistoryEntry(phase=MatchPhase.ACTIVE, time=NOON.replace(tzinfo=None))


def test_a_manifest_names_its_kind_and_holds_no_empty_metadata() -> None:
    made = Room(metadata=ObjectMeta(name="rk-1", namespace="calls"), spec=RoomSpec()).manifest()
    assert list(made)[:3] == ["apiVersion", "kind", "metadata"]
    assert made["metadata"] == {"name": "rk-1", "namespace": "calls"}


@pytest.mark.parametrize("text", ["", "x" * 257])
def test_bounds_hold_in_the_models_too(text: str) -> None:
    people: list[dict[str, Any]] = [{"identity": text}, {"identity": "bob"}]
    with pytest.raises(ValidationError):
        MatchSpec.model_validate({"participants": people})


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_fit_the_models(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        {"Match": Match, "Room": Room}[document["kind"]].model_validate(document)


def test_the_full_example_shows_every_field_and_the_defaults() -> None:
    document = yaml.safe_load((EXAMPLES / "match-full.yaml").read_text())
    spec = Match.model_validate(document).spec
    optional = {"termination"}
    assert set(document["spec"]) == {f.alias for f in MatchSpec.model_fields.values()} - optional
    assert (spec.timeouts, spec.tokens) == (type(spec.timeouts)(), type(spec.tokens)())
    assert all(spec.requeue.policy_for(r) == type(spec.requeue)().policy_for(r) for r in EndReason)


def test_defaults_that_are_not_stored_are_shared_by_all_objects() -> None:
    one, two = (Match.model_validate(match()).spec for _ in range(2))
    assert one.requeue is two.requeue
    assert one.placement is two.placement
    assert one.participants[0].grants is two.participants[1].grants
