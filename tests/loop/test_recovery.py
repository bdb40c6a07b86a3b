"""What follows from an error: it is recorded with what people want to know, and its row is followed."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.failure_codes import Failure
from controller.api.names import MATCH, ROOM
from controller.errors import Backend, BackendError, BackendRefused, BackendUnavailable, Code, Forbidden
from controller.facts.unreadable import Unreadable
from controller.loop import recovery
from controller.loop.key import Key
from controller.loop.recovery import Recovery
from tests import values as b

MATCH_KEY, ROOM_KEY = Key(MATCH, "calls", "match"), Key(ROOM, "calls", b.ROOM_NAME)


class Records:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.failed_with: list[tuple[Failure, Mapping[str, Any]]] = []
        self.recovered_from: list[Failure] = []

    def failed(self, failure: Failure, **about: Any) -> None:
        self.failed_with.append((failure, about))

    def recovered(self, failure: Failure, namespace: str) -> None:
        self.recovered_from.append(failure)


class Objects:
    """A cache with one object, or none."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def get(self, namespace: str, name: str) -> Any:
        return self.found

    def by_uid(self, uid: str) -> Any:
        return self.found if self.found is not None and self.found.metadata.uid == uid else None


class Rig:
    """A Recovery of one Match and its Room."""

    def __init__(self, match: Any = None, room: Any = None) -> None:
        self.records = Records()
        self.moved: list[Any] = []
        matches = Objects(match)
        servers = SimpleNamespace(move_elsewhere=self._move)
        backends = SimpleNamespace(caches={MATCH: matches, ROOM: Objects(room)}, matches=matches, servers=servers)
        self.recovery = Recovery(cast("Any", self.records), cast("Any", backends))

    def _move(self, room: Any) -> str:
        self.moved.append(room)
        return "eu-1"


def in_step(step: str, error: BackendError) -> BackendError:
    error.step = step
    return error


def test_an_error_is_recorded_with_its_step_its_object_and_its_users() -> None:
    rig = Rig(b.active())
    error = in_step("Claim", BackendUnavailable(Backend.REDIS, "claim", "no answer in time", code="timeout"))
    verdict = rig.recovery.failed(MATCH_KEY, error, attempt=3)
    ((failure, about),) = rig.records.failed_with
    assert failure is verdict.failure
    assert (failure.code, about["step"], about["object_"]) == ("RedisTimeout", "Claim", "match/match")
    context = about["context"]
    assert (context["user"], context["attempt"]) == ("alice, bob", "3")
    assert context["message"] == "Redis: no answer in time"


def test_an_error_of_a_room_names_the_users_of_its_match() -> None:
    rig = Rig(b.active(), b.a_room())
    rig.recovery.failed(ROOM_KEY, BackendUnavailable(Backend.LIVEKIT, "CreateRoom", "no answer"))
    assert rig.records.failed_with[0][1]["context"]["user"] == "alice, bob"


def test_an_error_of_an_object_that_is_gone_is_recorded_too() -> None:
    rig = Rig()
    rig.recovery.failed(MATCH_KEY, RuntimeError("password=hunter22"))
    assert rig.records.failed_with[0][0].code == "Unknown"


async def test_a_recovery_begins_once_and_succeeds_once() -> None:
    rig = Rig(b.active())
    for attempt in (1, 2):
        rig.recovery.failed(MATCH_KEY, BackendUnavailable(Backend.REDIS, "claim", "gone"), attempt=attempt)
    assert [about["begins"] for _, about in rig.records.failed_with] == [True, False]
    await rig.recovery.succeeded(MATCH_KEY)
    await rig.recovery.succeeded(MATCH_KEY)
    assert [failure.code for failure in rig.records.recovered_from] == ["RedisUnreachable"]


async def test_a_match_that_was_given_up_has_not_recovered() -> None:
    rig = Rig(b.active())
    rig.recovery.failed(MATCH_KEY, BackendUnavailable(Backend.REDIS, "claim", "gone"))
    given_up = b.active(status={"phase": "Failed", "reason": "TooLate"})
    cast("Any", rig.recovery)._backends.caches[MATCH].found = given_up
    await rig.recovery.succeeded(MATCH_KEY)
    assert rig.records.recovered_from == []


async def test_a_room_that_cannot_be_made_is_placed_elsewhere() -> None:
    room = b.a_room()
    rig = Rig(b.active(), room)
    error = in_step("CreateLiveKitRoom", BackendUnavailable(Backend.LIVEKIT, "CreateRoom", "no answer"))
    await rig.recovery.carry_out(ROOM_KEY, rig.recovery.failed(ROOM_KEY, error))
    assert rig.moved == [room]


@pytest.mark.parametrize(
    "error",
    [
        Forbidden(Backend.LIVEKIT, "CreateRoom", "refused", code="401"),
        BackendRefused(Backend.LIVEKIT, "CreateRoom", "HTTP 404", code="404"),
        BackendUnavailable(Backend.LIVEKIT, "placement", "the server is not configured", code=Code.NO_SERVER),
    ],
    ids=["wrong key", "wrong URL", "not configured"],
)
async def test_a_room_of_a_server_that_people_have_to_repair_moves_to_another_server(error: BackendError) -> None:
    room = b.a_room()
    rig = Rig(b.active(), room)
    error = in_step("CreateLiveKitRoom", error)
    await rig.recovery.carry_out(ROOM_KEY, rig.recovery.failed(ROOM_KEY, error))
    assert rig.moved == [room]


async def test_other_errors_of_livekit_move_no_room() -> None:
    error = BackendUnavailable(Backend.LIVEKIT, "ListParticipants", "no answer")
    rig = Rig(b.active(), b.a_room())
    await rig.recovery.carry_out(ROOM_KEY, rig.recovery.failed(ROOM_KEY, error))
    assert rig.moved == []


async def test_a_match_that_cannot_be_read_is_reset_by_its_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the damaged ledger of a Match that is being deleted would hold its finalizer for ever."""
    asked = []

    async def reset(found: Any, backends: Any) -> None:
        asked.append(found.metadata.uid)

    monkeypatch.setattr(recovery, "reset_unreadable", reset)
    rig = Rig(Unreadable(b.a_match(uid="u1", deleted=True).metadata, "spec: it cannot be read"))
    damaged = BackendRefused(Backend.REDIS, "ledger", "it makes no sense", code=Code.DAMAGED)
    await rig.recovery.carry_out(MATCH_KEY, rig.recovery.failed(MATCH_KEY, damaged))
    assert asked == ["u1"]


async def test_a_reset_that_is_not_possible_yet_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def away(match: Any, backends: Any) -> None:
        asked.append(match)
        raise BackendUnavailable(Backend.REDIS, "mend", "no answer")

    monkeypatch.setattr(recovery, "reset_match", away)
    rig = Rig(b.active())
    damaged = BackendRefused(Backend.REDIS, "claim", "refused (WRONGTYPE)", code="WRONGTYPE")
    await rig.recovery.carry_out(MATCH_KEY, rig.recovery.failed(MATCH_KEY, damaged))
    assert len(asked) == 1
