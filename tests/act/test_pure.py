"""Executors, as far as they are pure: the registry, tokens, manifests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from unittest import mock

import jwt
import pytest

from controller.act.execute import EXECUTORS
from controller.act.kubernetes import owner_reference, room_manifest
from controller.act.tokens import sign
from controller.api.match import Match
from controller.api.names import FINALIZER, MATCH_LABEL, label_value, user_label
from controller.api.room import Room
from controller.backends.servers import Server
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.errors import Backend
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import only

SECRET = "a-secret-of-more-than-thirty-two-characters"
SERVER = Server("default", b.URL, ApiKeys(ApiKey("APIkey", SECRET)), mock.Mock(), mock.Mock())


def test_every_action_has_one_executor_and_crash_tests_know_them_all() -> None:
    assert set(EXECUTORS) == set(a.ALL_ACTIONS) == set(get_args(a.AnyAction))
    assert len(set(EXECUTORS.values())) == len(EXECUTORS)
    assert len(a.ALL_ACTIONS) == len(set(a.ALL_ACTIONS))
    assert {kind for kind in vars(a).values() if isinstance(kind, type) and issubclass(kind, a.Action)} == {
        a.Action, *a.ALL_ACTIONS,
    }  # fmt: skip


@pytest.mark.parametrize("action", a.ALL_ACTIONS, ids=[kind.__name__ for kind in a.ALL_ACTIONS])
def test_every_action_says_where_it_goes_what_must_hold_and_where_it_shows(action: type[a.Action]) -> None:
    assert isinstance(action.backend, Backend)
    assert action.guard
    assert action.seen_in
    assert action.__doc__


def test_actions_are_the_same_if_their_effect_is() -> None:
    claim = only(plan_match(MatchCase(b.a_match(), b.seen(), b.at(1))), a.Claim)
    again = only(plan_match(MatchCase(b.a_match(generation=2), b.seen(), b.at(2))), a.Claim)
    assert claim.idempotency_key == again.idempotency_key == f"Claim:{b.MATCH_UID}"


def test_tokens_of_another_room_are_another_effect() -> None:
    made = b.seen(ledger=b.ledger(), room=b.a_room())
    first = only(plan_match(MatchCase(b.a_match(), made, b.at(1))), a.IssueTokens)
    other = only(
        plan_match(MatchCase(b.a_match(), b.seen(ledger=b.ledger(), room=b.a_room(), livekit_name="x"), b.at(1))),
        a.IssueTokens,
    )
    assert first.idempotency_key != other.idempotency_key


# Tokens


def claims_of(match: Match, *, ttl_seconds: int = 900) -> dict[str, Any]:
    """The claims of alice's token."""
    now = datetime.now(UTC)
    token = sign(match.spec.participants[0], b.LIVEKIT_NAME, SERVER, now, now + timedelta(seconds=ttl_seconds))
    claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"], leeway=5)
    return claims


def participants(**alice: Any) -> list[dict[str, Any]]:
    """alice as described, and bob."""
    return [{"identity": "alice", **alice}, {"identity": "bob"}]


def test_a_token_opens_one_room_and_nothing_else() -> None:
    claims = claims_of(b.a_match())
    video = claims["video"]
    assert (claims["iss"], claims["sub"]) == ("APIkey", "alice")
    assert (video["roomJoin"], video["room"]) == (True, b.LIVEKIT_NAME)
    assert not {"roomCreate", "roomList", "roomAdmin", "roomRecord", "ingressAdmin", "hidden", "recorder", "agent"} & {
        name for name, value in video.items() if value
    }
    assert not {"sip", "roomConfig", "roomPreset"} & set(claims)


@pytest.mark.parametrize("ttl_seconds", [10, 900, 86_400])
def test_a_token_runs_out_when_it_should(ttl_seconds: int) -> None:
    claims = claims_of(b.a_match(), ttl_seconds=ttl_seconds)
    assert claims["exp"] - claims["nbf"] in {ttl_seconds, ttl_seconds + 1}
    assert abs(claims["nbf"] - datetime.now(UTC).timestamp()) <= 5


def test_the_alias_is_the_identity_and_the_user_id_stays_with_us() -> None:
    claims = claims_of(b.a_match(participants=participants(alias="p-91")))
    assert claims["sub"] == "p-91"
    assert "alice" not in str(claims)


def test_the_token_says_who_a_participant_is_to_the_others() -> None:
    claims = claims_of(b.a_match(participants=participants(name="Alice", metadata="m", attributes={"lang": "de"})))
    assert (claims["name"], claims["metadata"], claims["attributes"]) == ("Alice", "m", {"lang": "de"})


def test_nothing_is_said_of_what_is_not_given() -> None:
    claims = claims_of(b.a_match())
    assert not claims.get("name")
    assert not claims.get("metadata")
    assert not claims.get("attributes")
    assert set(claims["video"]) == {"roomJoin", "room", "canPublish", "canSubscribe", "canPublishData"}


@pytest.mark.parametrize("name", ["can_publish", "can_subscribe", "can_publish_data"])
@pytest.mark.parametrize("allowed", [True, False])
def test_grants_are_as_the_spec_says(name: str, allowed: bool) -> None:
    video = claims_of(b.a_match(participants=participants(grants={name: allowed})))["video"]
    given = {"can_publish": "canPublish", "can_subscribe": "canSubscribe", "can_publish_data": "canPublishData"}
    assert {field: video[claim] for field, claim in given.items()} == {**dict.fromkeys(given, True), name: allowed}


def test_rarer_grants_are_given_on_demand() -> None:
    grants = {"can_update_own_metadata": True, "can_publish_sources": ["microphone"]}
    video = claims_of(b.a_match(participants=participants(grants=grants)))["video"]
    assert (video["canUpdateOwnMetadata"], video["canPublishSources"]) == (True, ["microphone"])


def test_the_secret_is_not_shown_with_the_server() -> None:
    assert SECRET not in repr(SERVER)


# Manifests


def manifest(**spec: Any) -> dict[str, Any]:
    """The Room that is created for a Match."""
    return room_manifest(
        only(plan_match(MatchCase(b.a_match(**spec), b.seen(ledger=b.ledger()), b.at(1))), a.CreateRoom),
        "eu-1",
    )


def test_the_room_of_a_match_is_named_after_it_owned_by_it_and_secured_from_the_beginning() -> None:
    body = manifest()
    assert (body["metadata"]["name"], body["metadata"]["namespace"]) == (b.ROOM_NAME, b.NAMESPACE)
    assert body["metadata"]["finalizers"] == [FINALIZER]
    (owner,) = body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Match", b.NAME, b.MATCH_UID)
    assert (owner["controller"], owner["blockOwnerDeletion"]) == (True, True)


def test_the_room_of_a_match_is_found_by_the_match_and_by_each_of_its_users() -> None:
    labels = manifest()["metadata"]["labels"]
    assert labels == {MATCH_LABEL: b.NAME, **{user_label(identity): "" for identity in b.PEOPLE}}
    (added,) = plan_match(MatchCase(b.a_match(finalizers=()), b.seen(), b.at(1))).actions
    assert added == a.AddFinalizer(added.target, tuple(map(user_label, b.PEOPLE)))


def test_every_name_and_every_identity_is_a_label() -> None:
    long = ".".join(["x" * 63] * 3)
    assert label_value("match-7f3a") == "match-7f3a"
    assert len(label_value(long)) == 63
    assert label_value(long) != label_value(long + "y")
    assert user_label("alice") == "user.roomkeeper.dev/" + hashlib.sha256(b"alice").hexdigest()[:20]


def test_a_room_for_two_knows_its_people_and_a_larger_one_lets_others_in() -> None:
    assert manifest(participants=participants(alias="p-91"))["spec"]["allowedIdentities"] == ["p-91", "bob"]
    assert not manifest(room={"max_participants": 3})["spec"].get("allowedIdentities")


def test_the_room_is_as_the_match_wants_it() -> None:
    wanted = {
        "max_participants": 4,
        "empty_timeout_seconds": 50,
        "departure_timeout_seconds": 40,
        "metadata": {"a": "1"},
    }
    room = Room.model_validate(manifest(room=wanted, placement={"server_name": "eu-1"}))
    spec = room.spec
    assert (spec.max_participants, spec.empty_timeout_seconds, spec.departure_timeout_seconds) == (4, 50, 40)
    assert (spec.metadata, spec.placement.server_name) == ({"a": "1"}, "eu-1")


def test_a_secret_does_not_hold_up_the_deletion_of_its_match() -> None:
    target = only(plan_match(MatchCase(b.a_match(), b.seen(), b.at(1))), a.Claim).target
    assert owner_reference(target, block_deletion=False)["blockOwnerDeletion"] is False
