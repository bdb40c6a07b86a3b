"""When a lost room is made again, and when it is given up."""

from __future__ import annotations

from datetime import datetime

import pytest

from controller.api.room import Room, RoomEndReason
from controller.facts.room import RoomSeen
from controller.rules.restores import is_given_up, next_restore_at, was_lost_too_often
from controller.rules.room import end_reason
from tests import values as b


@pytest.mark.parametrize(
    ("case", "restored_at", "now", "expected"),
    [
        ("never restored: at once", (), 50, None),
        ("once: after a second", (50,), 50.5, b.at(51)),
        ("twice: after two", (50, 52), 52.5, b.at(54)),
        ("three times: after four", (50, 52, 55), 56, b.at(59)),
        ("four times: after eight", (50, 52, 55, 60), 61, b.at(68)),
        ("long ago: at once", (50,), 650, None),
        ("once long ago, once lately: after a second", (50, 640), 650, b.at(641)),
    ],
)
def test_the_pause_before_a_restore_doubles(
    case: str, restored_at: tuple[float, ...], now: float, expected: datetime | None
) -> None:
    assert next_restore_at(b.a_lost_room(*restored_at), b.at(now)) == expected, case


OFTEN = (50.0, 52.0, 55.0, 60.0, 69.0)


@pytest.mark.parametrize(
    ("case", "room", "seen", "now", "expected"),
    [
        ("lost for the fifth time", b.a_lost_room(*OFTEN[:4]), b.room_seen(70), 70, False),
        ("lost after five restores within ten minutes", b.a_lost_room(*OFTEN), b.room_seen(70), 70, True),
        (
            "there after five restores",
            b.a_lost_room(*OFTEN),
            b.room_seen(70, livekit_room=b.a_livekit_room()),
            70,
            False,
        ),
        ("unknown after five restores", b.a_lost_room(*OFTEN), b.room_seen(70, livekit_room=b.unknown(70)), 70, False),
        ("lost after five restores, the first long ago", b.a_lost_room(*OFTEN), b.room_seen(650), 650, False),
        ("not made again for half a minute", b.a_lost_room(lost_at=5), b.room_seen(35), 35, True),
        ("not made again for almost as long", b.a_lost_room(lost_at=5), b.room_seen(34.9), 34.9, False),
        ("for as long, but LiveKit was away", b.a_lost_room(lost_at=5), b.room_seen(60, silences=[(0, 31)]), 60, False),
        ("and for as long since it answers", b.a_lost_room(lost_at=5), b.room_seen(61, silences=[(0, 31)]), 61, True),
        ("a standing room is never late", b.a_lost_room(lost_at=5), b.room_seen(999, owned=False), 999, False),
        ("looked for before the last restore", b.a_lost_room(*OFTEN), b.room_seen(69), 70, False),
        ("looked for before it was lost", b.a_lost_room(lost_at=5), b.room_seen(4), 70, False),
        ("one that was never made is not lost", b.a_room(), b.room_seen(999), 999, False),
    ],
)
def test_a_lost_room_is_given_up_after_many_restores_or_when_no_client_can_be_waiting(
    case: str, room: Room, seen: RoomSeen, now: float, expected: bool
) -> None:
    assert is_given_up(room, seen, b.at(now)) is expected, case
    assert (end_reason(room, seen, b.at(now)) is RoomEndReason.LOST) is expected, case


def test_a_room_that_is_given_up_stays_so() -> None:
    room = b.a_lost_room(*OFTEN, reason="Lost", phase="Failed")
    assert end_reason(room, b.room_seen(9999), b.at(9999)) is RoomEndReason.LOST


def test_a_room_that_closed_by_itself_is_not_given_up() -> None:
    status = {"restored_at": [b.at(second) for second in OFTEN], "empty_since": b.at(69)}
    room = b.an_active_room(owned=False, status=status)
    assert end_reason(room, b.room_seen(100, owned=False), b.at(100)) is RoomEndReason.EMPTY


def test_a_room_that_closes_by_itself_again_and_again_while_its_match_goes_on_is_given_up() -> None:
    room = b.a_lost_room(*OFTEN, empty_since=b.at(69), num_participants=0)
    assert end_reason(room, b.room_seen(100), b.at(100)) is RoomEndReason.LOST


@pytest.mark.parametrize(
    ("restored_at", "often"), [(OFTEN, True), ((1.0, *OFTEN[1:4], 601.0), False), ((50.0,), False)]
)
def test_the_reason_for_giving_up_is_still_known_later(restored_at: tuple[float, ...], often: bool) -> None:
    assert was_lost_too_often(b.a_lost_room(*restored_at)) is often
