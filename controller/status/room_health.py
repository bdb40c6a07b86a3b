"""What is wrong with a Room: each issue with a sentence that says what, and what follows. Pure.

No sentence changes because time passes, only because something else was seen. Neighbors: `status.room` puts the issues
into `status.issues`, `status.room_conditions` the sentences into the condition Healthy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from controller.api.room import RoomEndReason, RoomIssue
from controller.facts.livekit import seats_taken
from controller.facts.observation import value_of
from controller.rules.room_case import RoomCase
from controller.rules.stale import is_stale

_NAMED = 3


def room_issues(case: RoomCase) -> Mapping[RoomIssue, str]:
    """The issues, the most serious first, each with its sentence."""
    return dict(_issues(case))


def _issues(case: RoomCase) -> Iterator[tuple[RoomIssue, str]]:
    name, server, reason = case.seen.livekit_name, case.seen.server, case.end_reason
    if reason is RoomEndReason.LOST:
        yield RoomIssue.MISSING, f"room {name} is no longer on {server.name}, and is given up"
    if case.is_foreign:
        yield (
            RoomIssue.FOREIGN_MARK,
            f"a room {name} with the mark of another Room is on {server.name}; it is left alone",
        )
    if reason is not None:
        return
    if case.is_lost:
        how = "closed the empty" if case.was_closed_empty else "lost"
        yield RoomIssue.MISSING, f"{server.name} has {how} room {name}; {_restored_when(case)}"
    if case.room.status.created_at is not None and is_stale(server.silent_since, case.now):
        since = _time(server.silent_since)
        yield RoomIssue.STALE, f"{server.name} has not answered since {since}; the status is from before that"
    yield from _unowned(case)
    if not case.is_foreign:
        yield from _people(case)


def _restored_when(case: RoomCase) -> str:
    not_before = case.next_restore_at
    return "it is restored" + (f", not before {_time(not_before)} since it was lost before" if not_before else "")


def _unowned(case: RoomCase) -> Iterator[tuple[RoomIssue, str]]:
    livekit, owner = case.livekit_room, case.seen.owner
    if owner is not None and owner.is_gone:
        yield RoomIssue.UNOWNED, f"its Match {owner.name} is gone; Kubernetes will delete the Room"
    elif livekit is not None and case.is_revived:
        yield RoomIssue.UNOWNED, "a client has made it on LiveKit, without our mark; Roomkeeper adopts and marks it"
    elif livekit is not None and livekit.mark is None:
        yield (
            RoomIssue.UNOWNED,
            "another client has overwritten its metadata on LiveKit: the room no longer carries our mark, and its "
            "webhooks are not known as ours",
        )


def _people(case: RoomCase) -> Iterator[tuple[RoomIssue, str]]:
    people, livekit = value_of(case.seen.people), case.livekit_room
    if people is None or livekit is None:
        return
    if ghosts := sorted(ghost.identity for ghost in case.seen.ghosts):
        told = f"LiveKit lists {_some_of(ghosts)} on a node that no longer answers; they count as gone"
        yield RoomIssue.GHOST_PARTICIPANT, told
    taken, limit = seats_taken(people), case.room.spec.max_participants
    if taken > limit:
        yield RoomIssue.WRONG_PARTICIPANT_COUNT, f"{taken} participants are in a room for {limit}"
    elif case.seen.is_miscounted:
        counted = livekit.num_participants
        yield RoomIssue.WRONG_PARTICIPANT_COUNT, f"LiveKit counts {counted} participants and lists {taken}"
    unexpected = sorted(stranger.identity for stranger in case.strangers)
    if unexpected:
        told = f"in the room and not in allowedIdentities: {_some_of(unexpected)}; they are removed"
        yield RoomIssue.UNEXPECTED_PARTICIPANT, told


def _some_of(names: Sequence[str]) -> str:
    """The first of the names, and how many there are more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _time(moment: datetime | None) -> str:
    return f"{moment:%H:%M:%S} UTC" if moment is not None else "its start"
