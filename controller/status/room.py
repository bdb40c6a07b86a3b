"""The status of a Room, computed last from what was seen: one value, written once if it differs from the last. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from controller.api.failures import LastError
from controller.api.phases import RoomPhase
from controller.api.room import MAX_RESTORES, Occupancy, Room, RoomEndReason, RoomIssue, RoomStatus
from controller.facts.livekit import seats_taken
from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.facts.room import RoomSeen
from controller.rules.restores import IN_TIME, WINDOW, is_lost, was_lost_too_often
from controller.rules.room import end_reason, is_foreign, is_revived
from controller.status.conditions import Verdict, false, merge, true
from controller.status.room_health import room_issues


def room_status(room: Room, seen: RoomSeen, now: datetime, error: LastError | None) -> RoomStatus:
    """The status that follows from what was seen at `now`; `error` is what kept the last step from working."""
    now = _whole_milliseconds(now)
    before = room.status
    reason = end_reason(room, seen, now)
    phase = _phase(room, seen, reason)
    livekit = value_of(seen.livekit_room)
    ours = livekit if not is_foreign(room, seen) else None
    there = ours is not None and reason is None
    issues = room_issues(room, seen, reason, now)
    # One without our mark is not known by its sid before it has it: that is how the planner tells it from ours.
    known = ours if not is_revived(room, seen) else None
    restored_at = _restored_at(room, seen, now) if known is not None else None
    return RoomStatus(
        observed_generation=room.metadata.generation,
        phase=phase,
        reason=reason,
        occupancy=_occupancy(room, seen, phase, there=there),
        conditions=merge(
            before.conditions,
            _conditions(room, seen, phase, reason, issues),
            room.metadata.generation,
            now,
        ),
        livekit_name=seen.livekit_name,
        sid=known.sid if known is not None else before.sid,
        server=seen.server.name,
        # A room that is missing and wanted keeps the count it was lost with: it was not closed for being empty.
        num_participants=_count(seen) if there else before.num_participants if reason is None else 0,
        empty_since=_empty_since(room, seen, now, restored_at) if there else before.empty_since,
        created_at=before.created_at or (now if ours is not None else None),
        terminated_at=before.terminated_at or (now if _is_gone_for_good(seen, phase) else None),
        lost_at=_lost_at(room, seen, reason, there=there),
        restores=(before.restores or 0) + 1 if restored_at is not None else before.restores,
        restored_at=before.restored_at if restored_at is None else (*before.restored_at, restored_at)[-MAX_RESTORES:],
        issues=tuple(issues),
        last_error=error if error is not None and _differs(before.last_error, error) else before.last_error,
    )


def _phase(room: Room, seen: RoomSeen, reason: RoomEndReason | None) -> RoomPhase:
    if reason is RoomEndReason.LOST:
        return RoomPhase.FAILED
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
        return seats_taken(people)
    livekit = value_of(seen.livekit_room)
    return livekit.num_participants if livekit is not None else 0


def _restored_at(room: Room, seen: RoomSeen, now: datetime) -> datetime | None:
    """When the room was made again, if it was since the last status: that may be written some time after."""
    livekit, sid = value_of(seen.livekit_room), room.status.sid
    if livekit is None or sid is None or livekit.sid == sid:
        return None
    return _whole_milliseconds(seen.sid_since) if seen.sid_since is not None else now


def _empty_since(room: Room, seen: RoomSeen, now: datetime, restored_at: datetime | None) -> datetime | None:
    if _count(seen):
        return None
    return restored_at or room.status.empty_since or now


def _lost_at(room: Room, seen: RoomSeen, reason: RoomEndReason | None, *, there: bool) -> datetime | None:
    before = room.status.lost_at
    if reason is not None or before is not None:
        return None if there else before
    return seen.livekit_room.at if is_lost(room, seen) else None


def _is_gone_for_good(seen: RoomSeen, phase: RoomPhase) -> bool:
    given_up = phase is RoomPhase.FAILED and isinstance(seen.livekit_room, Absent) and seen.is_certainly_gone
    return phase is RoomPhase.TERMINATED or given_up


def _occupancy(room: Room, seen: RoomSeen, phase: RoomPhase, *, there: bool) -> Occupancy | None:
    if there:
        return Occupancy.OCCUPIED if _count(seen) else Occupancy.AVAILABLE
    if phase is RoomPhase.ACTIVE:
        return room.status.occupancy  # it cannot be read at the moment
    restoring = phase is RoomPhase.CREATING and room.status.created_at is not None
    return Occupancy.MAINTENANCE if restoring or phase is RoomPhase.TERMINATING else None


def _conditions(
    room: Room, seen: RoomSeen, phase: RoomPhase, reason: RoomEndReason | None, issues: Mapping[RoomIssue, str]
) -> Iterator[Verdict]:
    name, server = seen.livekit_name, seen.server.name
    if reason is not None:
        yield false("Ready", reason.value, _ending_sentence(room, reason))
    elif phase is RoomPhase.ACTIVE:
        yield true("Ready", "RoomCreated", f"room {name} is on {server}")
    elif phase is RoomPhase.FAILED:
        code, sentence = next(iter(issues.items()))
        yield false("Ready", code.value, sentence)
    else:
        yield false("Ready", "RoomMissing", seen.server.trouble or f"room {name} is being made on {server}")
    if issues:
        yield false("Healthy", next(iter(issues)).value, "; ".join(issues.values()))
    else:
        yield true("Healthy", "AsExpected", "the room is as it should be")
    if seen.server.trouble:
        yield true("Degraded", "LiveKitUnreachable", f"{seen.server.trouble}; nothing is decided until it answers")
    else:
        yield false("Degraded", "LiveKitAnswers", f"{server} answers")
    if reason is not None and (phase is RoomPhase.TERMINATED or phase is RoomPhase.FAILED):
        yield true("Finished", reason.value, _ending_sentence(room, reason))
    else:
        yield false("Finished", "InProgress", "the room is not over")


def _ending_sentence(room: Room, reason: RoomEndReason) -> str:
    return {
        RoomEndReason.EMPTY: "nobody was in it, so LiveKit closed it at its timeout; make another Room to meet again",
        RoomEndReason.EXPIRED: f"it reached maxAgeSeconds ({room.spec.max_age_seconds} s)",
        RoomEndReason.TERMINATED: f"it was closed: {room.spec.termination_reason}",
        RoomEndReason.DELETED: "the Room was deleted",
        RoomEndReason.LOST: _lost_sentence(room),
    }.get(reason, f"it is over ({reason})")


def _lost_sentence(room: Room) -> str:
    if was_lost_too_often(room):
        minutes = int(WINDOW.total_seconds() / 60)
        return (
            f"LiveKit lost it again after it was restored {MAX_RESTORES} times within {minutes} minutes; "
            "see to LiveKit, then make another Room"
        )
    seconds = int(IN_TIME.total_seconds())
    return f"LiveKit lost it and could not make it again within {seconds} s; nobody is waiting for it any more"


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _differs(before: LastError | None, error: LastError) -> bool:
    return before is None or before.type is not error.type
