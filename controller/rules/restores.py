"""When a room that LiveKit lost is made again, and when it is given up. Pure.

The first time at once, since clients that lost their room may give up after 13 s; then after pauses that double, so
that we do not keep a LiveKit busy that loses its rooms again and again. All of it follows from the times in
`status.restoredAt`, so a restart changes nothing. Neighbor: `rules.room_case`, which asks.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.api.room import MAX_RESTORES, Room
from controller.facts.observation import Absent
from controller.facts.room import RoomSeen
from controller.rules.windows import window_end

WINDOW = timedelta(minutes=10)
_FIRST_PAUSE = timedelta(seconds=1)
# After this time no client is still trying to get back into the room.
IN_TIME = timedelta(seconds=30)


def is_lost(room: Room, seen: RoomSeen) -> bool:
    """Whether LiveKit had the room, and no longer has it."""
    return room.status.created_at is not None and isinstance(seen.livekit_room, Absent)


def next_restore_at(room: Room, now: datetime) -> datetime | None:
    """From when on a lost room may be made again; None means at once."""
    times = _recent(room, now)
    return times[-1] + _FIRST_PAUSE * 2 ** (len(times) - 1) if times else None


def is_given_up(room: Room, seen: RoomSeen, now: datetime) -> bool:
    """Whether a lost room is no longer made again.

    The room of a call has to be there in time; a standing room is tried for as long as it takes. A room counts as lost
    only if we looked for it after the last restore, or after it was lost.
    """
    livekit_room, times = seen.livekit_room, _recent(room, now)
    if not isinstance(livekit_room, Absent) or not is_lost(room, seen):
        return False
    if len(times) == MAX_RESTORES and livekit_room.at > times[-1]:
        return True
    lost_at = room.status.lost_at
    if seen.owner is None or lost_at is None or livekit_room.at < lost_at:
        return False
    return now >= window_end(lost_at, IN_TIME, seen.server.silences)


def was_lost_too_often(room: Room) -> bool:
    """Whether a room that was given up was lost too often; else it took too long to make it again."""
    times = room.status.restored_at
    return len(times) == MAX_RESTORES and times[-1] - times[0] < WINDOW


def _recent(room: Room, now: datetime) -> tuple[datetime, ...]:
    return tuple(at for at in room.status.restored_at if now - at < WINDOW)
