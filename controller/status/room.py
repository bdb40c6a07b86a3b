"""The status of a Room, computed last from what was seen: one value, written once if it differs from the last. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from controller.api.failures import LastError
from controller.api.phases import RoomPhase
from controller.api.room import Occupancy, Room, RoomEndReason, RoomIssue, RoomStatus
from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.facts.room import RoomSeen
from controller.plan.room import end_reason, is_foreign, strangers
from controller.status.conditions import Verdict, false, merge, true


def room_status(room: Room, seen: RoomSeen, now: datetime, error: LastError | None) -> RoomStatus:
    """The status that follows from what was seen at `now`; `error` is what kept the last step from working."""
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    before = room.status
    reason = end_reason(room, seen, now)
    phase = _phase(room, seen, reason)
    livekit = value_of(seen.livekit_room)
    ours = livekit if not is_foreign(room, seen) else None
    there = ours is not None and reason is None
    issues = tuple(_issues(room, seen, reason))
    restored = before.sid is not None and ours is not None and ours.sid != before.sid
    return RoomStatus(
        observed_generation=room.metadata.generation,
        phase=phase,
        reason=reason,
        occupancy=_occupancy(seen) if there else None,
        conditions=merge(
            before.conditions,
            _conditions(room, seen, phase, reason, issues),
            room.metadata.generation,
            now,
        ),
        live_kit_name=seen.livekit_name,
        sid=ours.sid if ours is not None else before.sid,
        server=seen.server.name,
        # A room that is missing and wanted keeps the count it was lost with: it was not closed for being empty.
        num_participants=_count(seen) if there else before.num_participants if reason is None else 0,
        empty_since=_empty_since(room, seen, now, restored=restored) if there else before.empty_since,
        created_at=before.created_at or (now if ours is not None else None),
        terminated_at=before.terminated_at or (now if phase is RoomPhase.TERMINATED else None),
        restores=(before.restores or 0) + 1 if restored else before.restores,
        issues=issues,
        last_error=error if error is not None and _differs(before.last_error, error) else before.last_error,
    )


def _phase(room: Room, seen: RoomSeen, reason: RoomEndReason | None) -> RoomPhase:
    if reason is not None:
        gone = isinstance(seen.livekit_room, Absent) and seen.is_certainly_gone
        return RoomPhase.TERMINATED if gone or room.status.terminated_at else RoomPhase.TERMINATING
    if is_foreign(room, seen):
        return RoomPhase.FAILED
    if isinstance(seen.livekit_room, Present):
        return RoomPhase.ACTIVE
    if isinstance(seen.livekit_room, Unknown) and room.status.phase is RoomPhase.ACTIVE:
        return RoomPhase.ACTIVE
    return RoomPhase.CREATING


def _count(seen: RoomSeen) -> int:
    """People in the room: the list where there is one, since LiveKit's own count lags by seconds."""
    people = value_of(seen.people)
    if people is not None:
        return len(people)
    livekit = value_of(seen.livekit_room)
    return livekit.num_participants if livekit is not None else 0


def _empty_since(room: Room, seen: RoomSeen, now: datetime, *, restored: bool) -> datetime | None:
    if _count(seen):
        return None
    return room.status.empty_since if room.status.empty_since is not None and not restored else now


def _occupancy(seen: RoomSeen) -> Occupancy:
    return Occupancy.OCCUPIED if _count(seen) else Occupancy.AVAILABLE


def _issues(room: Room, seen: RoomSeen, reason: RoomEndReason | None) -> Iterator[RoomIssue]:
    if is_foreign(room, seen):
        yield RoomIssue.FOREIGN_MARK
    if reason is not None:
        return
    if isinstance(seen.livekit_room, Absent) and room.status.sid is not None:
        yield RoomIssue.MISSING
    if _count(seen) > room.spec.max_participants:
        yield RoomIssue.WRONG_PARTICIPANT_COUNT
    if strangers(room, seen):
        yield RoomIssue.UNEXPECTED_PARTICIPANT


def _conditions(
    room: Room, seen: RoomSeen, phase: RoomPhase, reason: RoomEndReason | None, issues: tuple[RoomIssue, ...]
) -> Iterator[Verdict]:
    name, server = seen.livekit_name, seen.server.name
    if reason is not None:
        yield false("Ready", reason.value, _ending_sentence(room, reason))
    elif phase is RoomPhase.ACTIVE:
        yield true("Ready", "RoomCreated", f"room {name} is on {server}")
    elif phase is RoomPhase.FAILED:
        yield false("Ready", "ForeignMark", f"a room {name} is on {server} that is not ours; it is left alone")
    else:
        yield false("Ready", "RoomMissing", seen.server.trouble or f"room {name} is being made on {server}")
    if issues:
        yield false("Healthy", issues[0].value, "found: " + ", ".join(issues))
    else:
        yield true("Healthy", "AsExpected", "the room is as it should be")
    if seen.server.trouble:
        yield true("Degraded", "LiveKitUnreachable", f"{seen.server.trouble}; nothing is decided until it answers")
    else:
        yield false("Degraded", "LiveKitAnswers", f"{server} answers")
    if phase is RoomPhase.TERMINATED and reason is not None:
        yield true("Finished", reason.value, _ending_sentence(room, reason))
    else:
        yield false("Finished", "InProgress", "the room is not over")


def _ending_sentence(room: Room, reason: RoomEndReason) -> str:
    return {
        RoomEndReason.EMPTY: "nobody was in it, so LiveKit closed it at its timeout; make another Room to meet again",
        RoomEndReason.EXPIRED: f"it reached maxAgeSeconds ({room.spec.max_age_seconds} s)",
        RoomEndReason.TERMINATED: f"it was closed: {room.spec.termination_reason}",
        RoomEndReason.DELETED: "the Room was deleted",
    }.get(reason, f"it is over ({reason})")


def _differs(before: LastError | None, error: LastError) -> bool:
    return before is None or before.type is not error.type
