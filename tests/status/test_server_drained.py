"""The status of a LiveKit server that is drained: how many calls are left, and whether it can be stopped."""

from __future__ import annotations

import pytest

from controller.api.livekitserver import Drain, DrainType, LiveKitServer, LiveKitServerStatus
from controller.api.meta import ObjectMeta
from controller.api.names import FINALIZER
from controller.facts.server import Health, ServerSeen
from controller.plan.server import plan_server
from controller.rules.drain import drain_of
from controller.rules.server_case import ServerCase
from controller.status.server import server_status
from tests import values as b

MAINTENANCE = Drain(type=DrainType.MAINTENANCE, deadline=b.at(60))


def case(
    drain: Drain | None,
    *,
    left: int = 0,
    inside: int | None = 0,
    seconds: float = 9,
    rooms: int | None = None,
    standing: int = 0,
    paused: int = 0,
    unknown: str = "",
) -> ServerCase:
    rooms = left if rooms is None else rooms
    server = LiveKitServer(
        metadata=ObjectMeta(name="eu-1", namespace="roomkeeper-system", uid="u", generation=2, finalizers=(FINALIZER,)),
        spec={"url": "http://livekit:7880", "drain": drain},
    )
    oldest = b.at(3) if left else None
    seen = ServerSeen(
        None,
        Health(),
        rooms,
        inside,
        drain=drain_of("eu-1", drain),
        calls_left=left,
        oldest_call_at=oldest,
        standing=standing,
        paused=paused,
        unknown=unknown,
    )
    return ServerCase(server, seen, b.at(seconds))


def drained(status: LiveKitServerStatus) -> tuple[str, str, str] | None:
    found = next((one for one in status.conditions if one.type == "Drained"), None)
    return (found.status.value, found.reason, found.message) if found is not None else None


@pytest.mark.parametrize(
    ("drain", "seconds", "told"),
    [
        (Drain(type=DrainType.GRACEFUL), 9, "calls are left, and go on until their participants end them"),
        (MAINTENANCE, 9, "calls are left, and will be ended at 2026-01-31T10:01:00Z"),
        (MAINTENANCE, 61, "calls are left, and are being ended; the deadline has passed"),
        (Drain(type=DrainType.EMERGENCY), 9, "calls are left, and are being ended"),
    ],
)
def test_calls_are_left(drain: Drain, seconds: float, told: str) -> None:
    status = server_status(case(drain, left=2, inside=3, seconds=seconds), None)
    assert drained(status) == ("False", "CallsLeft", told)
    assert (status.calls_left, status.oldest_call_at) == (2, b.at(3))


GRACEFUL = Drain(type=DrainType.GRACEFUL)


@pytest.mark.parametrize(
    ("left", "inside", "rooms", "standing", "done"),
    [
        (0, 0, 0, 0, True),
        (0, 1, 0, 0, False),
        (1, 0, 1, 0, False),
        (0, 0, 1, 0, False),
        (0, 0, 2, 2, True),
        # It has not answered since the operator started.
        (0, None, 0, 0, True),
        (0, None, 1, 1, False),
        (1, None, 1, 0, False),
    ],
)
def test_a_server_is_drained_once_no_call_no_participant_and_no_room_of_a_call_is_left(
    left: int, inside: int | None, rooms: int, standing: int, done: bool
) -> None:
    found = drained(server_status(case(GRACEFUL, left=left, inside=inside, rooms=rooms, standing=standing), None))
    assert found is not None
    assert found[:2] == (("True", "NoCallsLeft") if done else ("False", "CallsLeft"))


def test_what_a_drain_waits_for_is_in_the_message() -> None:
    being_made = drained(server_status(case(GRACEFUL, rooms=1), None))
    assert being_made == ("False", "CallsLeft", "no call is left, and rooms of calls are being made or closed")
    paused = drained(server_status(case(GRACEFUL, left=2, paused=1), None))
    assert paused is not None
    assert paused[2].endswith(
        "; some of them are paused, and stay until the annotation roomkeeper.dev/paused is removed"
    )


def test_a_server_in_service_says_nothing_about_a_drain() -> None:
    status = server_status(case(None, left=0), None)
    assert (drained(status), status.calls_left, status.oldest_call_at) == (None, None, None)


@pytest.mark.parametrize(("seconds", "again"), [(9, 39), (50, 60), (61, 91)])
def test_the_key_comes_back_at_the_deadline(seconds: float, again: float) -> None:
    assert plan_server(case(MAINTENANCE, left=1, seconds=seconds)).deadline == b.at(again)


def test_a_server_is_not_drained_while_some_rooms_could_not_be_read() -> None:
    unread = "the Rooms of the namespace night could not be read yet"
    status = server_status(case(Drain(type=DrainType.EMERGENCY), unknown=unread), None)
    assert drained(status) == ("False", "NotKnown", f"it is not known whether calls are left: {unread}")
