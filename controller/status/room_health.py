"""What is not as it should be with a Room: each issue with a sentence that says what, and what follows. Pure.

No sentence changes because time passes, only with what was seen. Neighbour: `status.room`, which puts them into
`status.issues` and the condition Healthy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from controller.api.room import Room, RoomEndReason, RoomIssue
from controller.facts.livekit import seats_taken
from controller.facts.observation import value_of
from controller.facts.room import RoomSeen
from controller.rules.restores import is_lost, next_restore_at
from controller.rules.room import is_foreign, is_revived, strangers, was_closed_empty
from controller.rules.stale import is_stale

_NAMED = 3


def room_issues(room: Room, seen: RoomSeen, reason: RoomEndReason | None, now: datetime) -> Mapping[RoomIssue, str]:
    """The issues at `now`, the gravest first; `reason` is why the room should not exist, if it should not."""
    return dict(_issues(room, seen, reason, now))


def _issues(room: Room, seen: RoomSeen, reason: RoomEndReason | None, now: datetime) -> Iterator[tuple[RoomIssue, str]]:
    name, server = seen.livekit_name, seen.server
    if reason is RoomEndReason.LOST:
        yield RoomIssue.MISSING, f"room {name} is not on {server.name} any more, and is given up"
    if is_foreign(room, seen):
        yield _foreign(seen)
    if reason is not None:
        return
    if is_lost(room, seen):
        yield RoomIssue.MISSING, f"{server.name} has {_how_lost(room, seen)} room {name}; {_restored_when(room, now)}"
    if room.status.created_at is not None and is_stale(server.silent_since, now):
        yield (
            RoomIssue.STALE,
            f"{server.name} has not answered since {_time(server.silent_since)}; what is said is from then",
        )
    yield from _unowned(room, seen)
    if not is_foreign(room, seen):
        yield from _people(room, seen)


def _foreign(seen: RoomSeen) -> tuple[RoomIssue, str]:
    return (
        RoomIssue.FOREIGN_MARK,
        f"a room {seen.livekit_name} with the mark of another Room is on {seen.server.name}; it is left alone",
    )


def _how_lost(room: Room, seen: RoomSeen) -> str:
    return "closed the empty" if was_closed_empty(room, seen) else "lost"


def _restored_when(room: Room, now: datetime) -> str:
    not_before = next_restore_at(room, now)
    return "it is restored" + (f", not before {_time(not_before)} since it was lost before" if not_before else "")


def _unowned(room: Room, seen: RoomSeen) -> Iterator[tuple[RoomIssue, str]]:
    livekit = value_of(seen.livekit_room)
    if seen.owner is not None and seen.owner.is_gone:
        yield RoomIssue.UNOWNED, f"its Match {seen.owner.name} is gone; Kubernetes is to collect the Room"
    elif livekit is not None and is_revived(room, seen):
        yield RoomIssue.UNOWNED, "a client has made it on LiveKit, without our mark; it is adopted and marked"
    elif livekit is not None and livekit.mark is None:
        yield (
            RoomIssue.UNOWNED,
            "somebody has written over its metadata on LiveKit: it does not carry our mark any more, and its webhooks "
            "are not known as ours",
        )


def _people(room: Room, seen: RoomSeen) -> Iterator[tuple[RoomIssue, str]]:
    people, livekit = value_of(seen.people), value_of(seen.livekit_room)
    if people is None or livekit is None:
        return
    taken, limit = seats_taken(people), room.spec.max_participants
    if taken > limit:
        yield RoomIssue.WRONG_PARTICIPANT_COUNT, f"{taken} people are in a room for {limit}"
    elif seen.is_miscounted:
        counted = livekit.num_participants
        yield RoomIssue.WRONG_PARTICIPANT_COUNT, f"LiveKit counts {counted} people and lists {taken}"
    unexpected = sorted(stranger.identity for stranger in strangers(room, seen))
    if unexpected:
        more = f" and {len(unexpected) - _NAMED} more" if len(unexpected) > _NAMED else ""
        who = ", ".join(unexpected[:_NAMED]) + more
        yield RoomIssue.UNEXPECTED_PARTICIPANT, f"in the room and not in allowedIdentities: {who}; they are removed"


def _time(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%S} UTC" if moment is not None else "its start"
