"""A server is drained: participants are told once, calls end when it is their turn, and all of it can be taken back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from controller.api.endings import EndReason
from controller.api.livekitserver import Drain, DrainType
from controller.api.match import Match
from controller.api.room import RoomEndReason
from controller.api.tolerant import reader
from controller.facts.drain import DrainFacts
from controller.facts.match import MatchSeen
from controller.facts.room import RoomSeen
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.rules.drain import Progress, drain_of, ends_calls, progress
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from tests import values as b
from tests.plan.world import names, only

GRACEFUL = DrainFacts("eu-1-a", DrainType.GRACEFUL, "We move soon.")
MAINTENANCE = DrainFacts("eu-1-b", DrainType.MAINTENANCE, deadline=b.at(60))
EMERGENCY = DrainFacts("eu-1-c", DrainType.EMERGENCY)


def on(drain: DrainFacts | None, seen: MatchSeen, *, turn: float | None = None) -> MatchSeen:
    """The same call on a server with this drain."""
    return replace(seen, server=replace(seen.server, drain=drain), drain_turn=None if turn is None else b.at(turn))


def up(drain: DrainFacts | None, *, told: str = "", turn: float | None = None, in_room: bool = True) -> MatchSeen:
    """A call that is up, whose users, and whose room if `in_room`, were told about the drain of this id."""
    ledger = replace(b.ledger("Active"), drain=told)
    room = b.a_livekit_room(people=2, mark=b.a_mark(drain=told if in_room else ""))
    return on(drain, b.both_in(9, ledger=ledger, livekit_room=room), turn=turn)


def plan_names(match: Match, seen: MatchSeen, seconds: float = 9) -> list[str]:
    return names(plan_match(MatchCase(match, seen, b.at(seconds))))


def room_of(drain: DrainFacts | None, *, told: str = "", owned: bool = True, **more: Any) -> RoomSeen:
    mark = b.a_mark(drain=told) if owned else b.a_mark(drain=told, name="lobby", root_uid=b.ROOM_UID)
    people = tuple(b.person(who) for who in b.PEOPLE)
    room = b.a_livekit_room(people=2, mark=mark)
    seen = b.room_seen(9, livekit_room=room, people=people, record=b.a_record(), owned=owned, **more)
    return replace(seen, server=replace(seen.server, drain=drain))


# What a drain is


def test_a_drain_is_known_by_its_content() -> None:
    first, again = (drain_of("eu-1", Drain(type=DrainType.GRACEFUL)) for _ in range(2))
    other = drain_of("eu-1", Drain(type=DrainType.EMERGENCY))
    assert first == again
    assert first is not None
    assert other is not None
    assert first.id != other.id
    assert first.id.startswith("eu-1-")
    assert drain_of("eu-1", None) is None


def test_a_type_that_this_version_does_not_know_ends_no_call() -> None:
    drain = drain_of("eu-1", reader(Drain).read({"type": "volcano", "message": "Run."}))
    assert drain is not None
    assert (drain.type, drain.message) == (DrainType.GRACEFUL, "Run.")


@pytest.mark.parametrize(
    ("drain", "seconds", "ends"),
    [(None, 99, False), (GRACEFUL, 99, False), (MAINTENANCE, 59, False), (MAINTENANCE, 60, True), (EMERGENCY, 0, True)],
)
def test_when_a_drain_ends_calls(drain: DrainFacts | None, seconds: float, ends: bool) -> None:
    assert ends_calls(drain, b.at(seconds)) is ends


def test_progress_counts_what_is_left_and_names_the_oldest() -> None:
    assert progress([]) == Progress(0)
    calls = [SimpleNamespace(since=b.at(seconds)) for seconds in (5, 3)]
    assert progress(calls) == Progress(2, b.at(3))


# The users of a Match


@pytest.mark.parametrize("drain", [GRACEFUL, MAINTENANCE, EMERGENCY])
def test_users_are_told_once_about_each_drain(drain: DrainFacts) -> None:
    tell = only(plan_match(MatchCase(b.active(), up(drain), b.at(9))), a.TellUsersOfDrain)
    assert (tell.identities, tell.drain) == (b.PEOPLE, drain)
    assert plan_names(b.active(), up(drain, told="eu-1-another")) == ["TellUsersOfDrain"]
    assert plan_names(b.active(), up(drain, told=drain.id)) == []


def test_users_are_told_that_a_drain_is_over() -> None:
    tell = only(plan_match(MatchCase(b.active(), up(None, told="eu-1-a"), b.at(9))), a.TellUsersOfDrain)
    assert tell.drain is None


def test_a_server_that_is_not_configured_any_longer_says_nothing_about_its_drain() -> None:
    seen = up(None, told="eu-1-a")
    assert plan_names(b.active(), replace(seen, server=replace(seen.server, is_configured=False))) == []


def test_a_call_that_is_not_ready_is_not_told() -> None:
    assert plan_names(b.a_match(), on(GRACEFUL, b.all_made()), 1) == []


def test_a_call_ends_as_drained_when_it_is_its_turn_and_it_was_told() -> None:
    record = only(plan_match(MatchCase(b.active(), up(EMERGENCY, told="eu-1-c", turn=8), b.at(9))), a.RecordEnd)
    assert record.reason is EndReason.DRAINED
    assert plan_names(b.active(), up(EMERGENCY, told="eu-1-c")) == []
    assert plan_names(b.active(), up(GRACEFUL, told="eu-1-a", turn=8)) == []
    assert plan_names(b.active(), up(MAINTENANCE, told="eu-1-b", turn=8)) == []


def test_participants_are_told_before_their_call_ends_unless_that_takes_too_long() -> None:
    assert plan_names(b.active(), up(EMERGENCY, turn=8)) == ["TellUsersOfDrain"]
    in_room_later = up(EMERGENCY, told="eu-1-c", turn=8, in_room=False)
    waiting = plan_match(MatchCase(b.active(), in_room_later, b.at(9)))
    assert (names(waiting), waiting.deadline) == ([], b.at(11))
    assert plan_names(b.active(), in_room_later, 11) == ["RecordEnd"]


# The room


def test_the_room_is_told_once_and_its_metadata_keep_all_else() -> None:
    room = b.an_active_room(metadata={"topic": "go"})
    tell = only(plan_room(RoomCase(room, room_of(MAINTENANCE), b.at(9))), a.TellRoomOfDrain)
    assert tell.has_people
    mark = tell.request.marked_metadata["roomkeeper.dev"]
    assert tell.request.marked_metadata["topic"] == "go"
    assert isinstance(mark, dict)
    assert mark["drain"] == {
        "id": "eu-1-b",
        "type": "maintenance",
        "message": "",
        "expectedDowntimeSeconds": None,
        "deadline": b.ms(60),
    }
    assert mark["roomUID"] == b.ROOM_UID
    plain = b.an_active_room()
    assert names(plan_room(RoomCase(plain, room_of(MAINTENANCE, told="eu-1-b"), b.at(9)))) == []


def test_the_room_is_told_that_a_drain_is_over() -> None:
    tell = only(plan_room(RoomCase(b.an_active_room(), room_of(None, told="eu-1-b"), b.at(9))), a.TellRoomOfDrain)
    assert (tell.ended, tell.request.drain) == ("eu-1-b", None)
    assert "drain" not in str(tell.request.marked_metadata)


def test_a_room_that_is_made_again_says_that_its_server_is_drained() -> None:
    seen = replace(b.room_seen(9), server=replace(b.room_seen(9).server, drain=GRACEFUL))
    create = only(plan_room(RoomCase(b.a_lost_room(), seen, b.at(9))), a.CreateLiveKitRoom)
    assert "We move soon." in str(create.request.marked_metadata)


LOBBY = b.a_room(owned=False, status={"phase": "Active", "created_at": b.at(1), "sid": "RM_1"})


def standing(turn: float | None, *, told: str = "eu-1-c", drain: DrainFacts = EMERGENCY) -> RoomSeen:
    seen = room_of(drain, owned=False, told=told)
    return replace(seen, drain_turn=None if turn is None else b.at(turn))


def test_a_standing_room_is_closed_when_it_is_its_turn_and_it_was_told() -> None:
    assert RoomCase(LOBBY, standing(None), b.at(9)).end_reason is None
    assert RoomCase(LOBBY, standing(8), b.at(9)).end_reason is RoomEndReason.DRAINED
    assert RoomCase(LOBBY, standing(8, drain=MAINTENANCE), b.at(59)).end_reason is None
    of_match = RoomCase(b.an_active_room(), replace(room_of(EMERGENCY, told="eu-1-c"), drain_turn=b.at(8)), b.at(9))
    assert of_match.end_reason is None, "its Match decides"


def test_a_standing_room_that_cannot_be_told_is_closed_all_the_same() -> None:
    plan = plan_room(RoomCase(LOBBY, standing(8, told=""), b.at(9)))
    assert (names(plan), plan.deadline) == (["TellRoomOfDrain"], b.at(11))
    assert RoomCase(LOBBY, standing(8, told=""), b.at(11)).end_reason is RoomEndReason.DRAINED


@pytest.mark.parametrize("placed", [True, False])
def test_a_standing_room_that_was_not_made_yet_waits_for_a_server(placed: bool) -> None:
    room, seen = b.a_room(owned=False, placed=placed), b.room_seen(9, owned=False)
    drained = replace(seen, server=replace(seen.server, drain=EMERGENCY), drain_turn=b.at(1))
    assert RoomCase(room, drained, b.at(9)).end_reason is None
    assert names(plan_room(RoomCase(room, drained, b.at(9))))[0] == ("CreateLiveKitRoom" if placed else "PlaceRoom")
