"""What Flux and `helm --wait` read in a Match and in a Room: they wait while there is something to wait for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.match import Match, MatchStatus
from controller.api.phases import MATCH_PHASES, ROOM_PHASES, MatchPhase, RoomPhase
from controller.api.room import Room, RoomEndReason
from controller.facts.match import MatchSeen
from controller.facts.room import RoomSeen
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.status.match import match_status
from controller.status.room import room_status
from tests import values as b
from tests.status.test_condition_table import matches, matches_seen, rooms, rooms_seen
from tests.support.kstatus import kstatus

END = {"action": "End", "initiator": "alice"}


def read_match(match: Match, seen: MatchSeen, seconds: float = 2) -> tuple[MatchStatus, str]:
    """Return the status that is written, and what kstatus makes of it."""
    status = match_status(MatchCase(match, seen, b.at(seconds)), None)
    return status, kstatus({**match.manifest(), "status": status.manifest()})


def read_room(room: Room, seen: RoomSeen, seconds: float = 2) -> tuple[RoomPhase | None, str]:
    """Return the phase that is written, and what kstatus makes of the Room."""
    status = room_status(RoomCase(room, seen, b.at(seconds)), None)
    return status.phase, kstatus({**room.manifest(), "status": status.manifest()})


OF_MATCHES: dict[MatchPhase, tuple[Match, MatchSeen, str]] = {
    MatchPhase.PENDING: (b.a_match(), b.seen(ledger=b.ledger("", claimed=False)), "InProgress"),
    MatchPhase.CREATING: (b.a_match(), b.seen(ledger=b.ledger()), "InProgress"),
    MatchPhase.CONNECTING: (b.connecting(), b.all_made(), "Current"),
    MatchPhase.ACTIVE: (b.active(), b.both_in(), "Current"),
    MatchPhase.RECONNECTING: (b.active(), b.both_in(people=(b.person("alice"),)), "Current"),
    MatchPhase.TERMINATING: (b.active(termination=END), b.both_in(), "InProgress"),
    MatchPhase.ENDED: (b.active(termination=END), b.all_gone(), "Current"),
    MatchPhase.FAILED: (
        b.a_match(),
        b.seen(60, ledger=b.ledger("", claimed=False, settled="Failed"), people=()),
        "Failed",
    ),
}


@pytest.mark.parametrize("phase", MATCH_PHASES)
def test_a_match_in_this_phase(phase: MatchPhase) -> None:
    match, seen, expected = OF_MATCHES[phase]
    status, read = read_match(match, seen)
    assert (status.phase, read) == (phase, expected)


def test_a_match_that_lost_its_room_is_in_progress_and_then_current_again() -> None:
    assert read_match(b.active(), b.both_in(livekit_room=None))[1] == "InProgress"
    assert read_match(b.active(), b.both_in())[1] == "Current"


OF_ROOMS: dict[RoomPhase, tuple[Room, RoomSeen, str]] = {
    RoomPhase.CREATING: (b.a_room(), b.room_seen(), "InProgress"),
    RoomPhase.ACTIVE: (b.an_active_room(), b.room_seen(livekit_room=b.a_livekit_room()), "Current"),
    RoomPhase.TERMINATING: (
        b.a_room(termination_reason="works"),
        b.room_seen(livekit_room=b.a_livekit_room()),
        "InProgress",
    ),
    RoomPhase.TERMINATED: (
        b.an_active_room(status={"reason": RoomEndReason.EMPTY, "phase": "Terminated", "terminated_at": b.at(1)}),
        b.room_seen(gone=True),
        "Current",
    ),
    RoomPhase.FAILED: (b.a_lost_room(lost_at=-30), b.room_seen(4), "Failed"),
}


@pytest.mark.parametrize("phase", [phase for phase in ROOM_PHASES if phase is not RoomPhase.PENDING])
def test_a_room_in_this_phase(phase: RoomPhase) -> None:
    room, seen, expected = OF_ROOMS[phase]
    assert read_room(room, seen, 4) == (phase, expected)


def test_a_room_under_whose_name_another_owner_has_one_is_failed() -> None:
    others = b.room_seen(livekit_room=b.a_livekit_room(mark=b.a_mark(room_uid="another")))
    assert read_room(b.a_room(), others) == (RoomPhase.FAILED, "Failed")


@pytest.mark.parametrize("made", [b.a_match(), b.a_room()], ids=["Match", "Room"])
def test_an_object_that_the_operator_has_not_seen_is_in_progress(made: Match | Room) -> None:
    """The API server gives it this status: `tests/api` asks it."""
    manifest: dict[str, Any] = {**made.manifest(), "status": {"observedGeneration": -1}}
    assert kstatus(manifest) == "InProgress"


@settings(deadline=None)
@given(matches, matches_seen(), st.sampled_from([2, 40, 4000]))
def test_no_tool_waits_for_a_match_that_is_over(match: Match, seen: MatchSeen, seconds: int) -> None:
    status, read = read_match(match, seen, seconds)
    if match.metadata.deletion_timestamp is not None:
        assert read == "Terminating"
    elif status.phase is not None and MATCH_PHASES[status.phase].terminal:
        assert read == ("Failed" if status.phase is MatchPhase.FAILED else "Current")


@settings(deadline=None)
@given(rooms, rooms_seen(), st.sampled_from([2, 40]))
def test_no_tool_waits_for_a_room_that_is_over(room: Room, seen: RoomSeen, seconds: int) -> None:
    phase, read = read_room(room, seen, seconds)
    if room.metadata.deletion_timestamp is None and phase in {RoomPhase.TERMINATED, RoomPhase.FAILED}:
        assert read == ("Failed" if phase is RoomPhase.FAILED else "Current")
