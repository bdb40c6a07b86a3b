"""A deletion that has waited for long enough for a backend is finished without it."""

from __future__ import annotations

import pytest

from controller.api.match import Match
from controller.api.room import Room
from controller.errors import Backend
from controller.facts.match import MatchSeen
from controller.facts.room import RoomSeen
from controller.plan.actions import ReleaseFinalizer
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.plan.step import Plan
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from tests import values as b
from tests.plan.world import names

# `b` deletes objects at second 1, and a deletion waits for 30 s.
DELETED_ROOM, DELETED_MATCH = b.an_active_room(deleted=True), b.active(deleted=True)
THERE, RECORD, OVER = b.a_livekit_room(), b.a_record(), b.a_record("terminated")
REDIS, LIVEKIT, BOTH = {Backend.REDIS}, {Backend.LIVEKIT}, {Backend.REDIS, Backend.LIVEKIT}

ROOMS: list[tuple[str, Room, RoomSeen, float, set[Backend]]] = [
    (
        "LiveKit is silent, the record is over: without LiveKit",
        DELETED_ROOM,
        b.room_seen(livekit_room=b.unknown(), record=OVER, silent_since=1),
        31,
        LIVEKIT,
    ),
    (
        "the room was seen before LiveKit fell silent: it counts for nothing",
        DELETED_ROOM,
        b.room_seen(livekit_room=THERE, record=OVER, silent_since=1),
        31,
        LIVEKIT,
    ),
    (
        "the server is no longer configured: without it",
        DELETED_ROOM,
        b.room_seen(livekit_room=b.unknown(), record=OVER, configured=False),
        31,
        LIVEKIT,
    ),
    (
        "the room is gone, Redis is silent: without Redis",
        DELETED_ROOM,
        b.room_seen(gone=True, record=b.unknown(), redis_silent_since=1),
        31,
        REDIS,
    ),
    (
        "both are silent: without both",
        DELETED_ROOM,
        b.room_seen(livekit_room=b.unknown(), record=b.unknown(), silent_since=1, redis_silent_since=1),
        31,
        BOTH,
    ),
]


@pytest.mark.parametrize(("room", "seen", "seconds", "without"), [c[1:] for c in ROOMS], ids=[c[0] for c in ROOMS])
def test_a_room_is_released_without_the_backends_that_are_away(
    room: Room, seen: RoomSeen, seconds: float, without: set[Backend]
) -> None:
    assert _released_without(plan_room(RoomCase(room, seen, b.at(seconds)))) == without


def test_the_room_is_closed_and_its_record_ended_where_the_other_backend_answers() -> None:
    no_livekit = b.room_seen(livekit_room=b.unknown(), record=RECORD, silent_since=1)
    assert names(plan_room(RoomCase(DELETED_ROOM, no_livekit, b.at(31)))) == ["EndRoomRecord"]
    no_redis = b.room_seen(livekit_room=THERE, record=b.unknown(), redis_silent_since=1)
    assert names(plan_room(RoomCase(DELETED_ROOM, no_redis, b.at(31)))) == ["DeleteLiveKitRoom"]


@pytest.mark.parametrize(
    ("room", "silent_since", "seconds"),
    [
        (DELETED_ROOM, 1, 30.9),
        (DELETED_ROOM, 100, 129.9),
        (DELETED_ROOM, None, 1000),
        (b.an_active_room(termination_reason="maintenance"), 1, 1000),
    ],
    ids=[
        "the deletion is younger than the limit",
        "the silence is younger than the limit",
        "one read failed, and the server answers again",
        "nothing is deleted: the room is closed later",
    ],
)
def test_a_room_waits_for_livekit_until_then(room: Room, silent_since: float | None, seconds: float) -> None:
    seen = b.room_seen(livekit_room=b.unknown(), record=OVER, silent_since=silent_since)
    plan = plan_room(RoomCase(room, seen, b.at(seconds)))
    assert (plan.actions, plan.blocked_by) == ((), Backend.LIVEKIT)


def test_an_orphan_waits_for_livekit_however_long_it_takes() -> None:
    """With our mark on it, the sweep would close it with the people in it."""
    orphan = b.an_active_room(deleted=True, deletion_policy="Orphan")
    seen = b.room_seen(livekit_room=b.unknown(), record=OVER, silent_since=1)
    plan = plan_room(RoomCase(orphan, seen, b.at(1000)))
    assert (plan.actions, plan.blocked_by) == ((), Backend.LIVEKIT)


def test_a_match_closes_its_room_and_is_released_without_redis() -> None:
    def plan(**seen: object) -> Plan:
        known: MatchSeen = b.seen(ledger=b.unknown(), redis_silent_since=1, **seen)  # type: ignore[arg-type]  # by name
        return plan_match(MatchCase(DELETED_MATCH, known, b.at(31)))

    assert names(plan(room=b.an_active_room())) == ["DeleteRoom"]
    assert names(plan(room=DELETED_ROOM)) == []
    assert plan(room=b.unknown()).blocked_by is Backend.KUBERNETES
    assert _released_without(plan()) == REDIS


@pytest.mark.parametrize(
    ("match", "silent_since", "seconds"),
    [(DELETED_MATCH, 1, 30.9), (DELETED_MATCH, 100, 129.9), (DELETED_MATCH, None, 1000), (b.active(), 1, 1000)],
    ids=["the deletion is young", "the silence is young", "Redis answers again", "nothing is deleted"],
)
def test_a_match_waits_for_redis_until_then(match: Match, silent_since: float | None, seconds: float) -> None:
    seen = b.seen(ledger=b.unknown(), redis_silent_since=silent_since)
    plan = plan_match(MatchCase(match, seen, b.at(seconds)))
    assert (plan.actions, plan.blocked_by) == ((), Backend.REDIS)


def test_a_deletion_is_looked_at_again_when_it_gives_a_silent_backend_up() -> None:
    """Nothing else wakes its key while the backend is away."""
    match = plan_match(MatchCase(DELETED_MATCH, b.seen(ledger=b.unknown(), redis_silent_since=5), b.at(10)))
    seen = b.room_seen(livekit_room=b.unknown(), record=OVER, silent_since=7, redis_silent_since=1)
    assert (match.deadline, plan_room(RoomCase(DELETED_ROOM, seen, b.at(10))).deadline) == (b.at(35), b.at(31))
    assert plan_room(RoomCase(DELETED_ROOM, seen, b.at(32))).deadline == b.at(37)
    assert (
        plan_match(MatchCase(b.active(), b.seen(ledger=b.unknown(), redis_silent_since=5), b.at(10))).deadline is None
    )


def test_a_match_whose_ledger_can_be_read_is_settled_before_it_goes() -> None:
    seen = b.both_in(redis_silent_since=1)
    assert names(plan_match(MatchCase(DELETED_MATCH, seen, b.at(31)))) == ["RecordEnd"]


def _released_without(plan: Plan) -> set[Backend]:
    (release,) = plan.actions
    assert isinstance(release, ReleaseFinalizer)
    return set(release.without)
