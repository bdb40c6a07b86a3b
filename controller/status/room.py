"""The status of a Room, computed last from the case: one value, written once if it differs from the last. Pure.

Neighbors: `status.room_conditions` and `status.room_health` for the sentences, `loop.reconcile` (writes it).
"""

from __future__ import annotations

from datetime import datetime

from controller.api.failures import LastError
from controller.api.phases import RoomPhase
from controller.api.room import MAX_RESTORES, Occupancy, RoomEndReason, RoomStatus
from controller.facts.livekit import seats_taken
from controller.facts.observation import Absent, Unknown, value_of
from controller.rules.placement import server_of
from controller.rules.room_case import RoomCase
from controller.status.conditions import latest, merge
from controller.status.room_conditions import room_conditions
from controller.status.room_health import room_issues
from controller.status.times import whole_milliseconds


def room_status(case: RoomCase, error: LastError | None) -> RoomStatus:
    """The status that follows from the case; `error` is what kept the last step from working."""
    room, before, reason = case.room, case.room.status, case.end_reason
    now, phase = whole_milliseconds(case.now), _phase(case)
    ours = case.livekit_room if not case.is_foreign else None
    there = ours is not None and reason is None
    issues = room_issues(case)
    # The status has no sid of a room without our mark: that is how the planner tells it from the room that we made.
    known = ours if not case.is_revived else None
    restored_at = _restored_at(case)
    return RoomStatus(
        observed_generation=room.metadata.generation,
        phase=phase,
        reason=reason,
        occupancy=_occupancy(case, phase, there=there),
        conditions=merge(before.conditions, room_conditions(case, phase, issues, error), room.metadata.generation, now),
        livekit_name=case.seen.livekit_name,
        sid=known.sid if known is not None else before.sid,
        server=case.seen.server.name if server_of(room) or before.created_at or ours is not None else None,
        # A room that is missing and wanted keeps the count with which it was lost: it was not closed for being empty.
        num_participants=_count(case) if there else before.num_participants if reason is None else 0,
        empty_since=_empty_since(case, now, restored_at) if there else before.empty_since,
        created_at=before.created_at or (now if ours is not None else None),
        terminated_at=_terminated_at(case, phase, now),
        lost_at=_lost_at(case, there=there),
        restores=(before.restores or 0) + 1 if restored_at is not None else before.restores,
        restored_at=before.restored_at if restored_at is None else (*before.restored_at, restored_at)[-MAX_RESTORES:],
        issues=tuple(issues),
        last_error=latest(error, before.last_error, before.conditions),
    )


def is_just_restored(case: RoomCase) -> bool:
    """Whether the Room was lost, and is there again since the last status."""
    return _restored_at(case) is not None and _phase(case) is RoomPhase.ACTIVE


def _phase(case: RoomCase) -> RoomPhase:
    seen, status, reason = case.seen, case.room.status, case.end_reason
    if reason is RoomEndReason.LOST:
        return RoomPhase.FAILED
    if reason is not None:
        gone = isinstance(seen.livekit_room, Absent) and seen.is_certainly_gone
        return RoomPhase.TERMINATED if gone or status.terminated_at else RoomPhase.TERMINATING
    if case.is_foreign:
        return RoomPhase.FAILED
    if case.livekit_room is not None:
        return RoomPhase.ACTIVE
    if isinstance(seen.livekit_room, Unknown) and status.phase is RoomPhase.ACTIVE:
        return RoomPhase.ACTIVE
    return RoomPhase.CREATING


def _count(case: RoomCase) -> int:
    """People in the room: the list where there is one, since LiveKit's own count lags by seconds."""
    people = value_of(case.seen.people)
    if people is not None:
        return seats_taken(people)
    return case.livekit_room.num_participants if case.livekit_room is not None else 0


def _restored_at(case: RoomCase) -> datetime | None:
    """When the room was made again, if it was since the last status; that may be written some time after."""
    livekit, sid, since = case.livekit_room, case.room.status.sid, case.seen.sid_since
    if livekit is None or case.is_foreign or case.is_revived or sid is None or livekit.sid == sid:
        return None
    return whole_milliseconds(since or case.now)


def _empty_since(case: RoomCase, now: datetime, restored_at: datetime | None) -> datetime | None:
    if _count(case):
        return None
    return restored_at or case.room.status.empty_since or now


def _lost_at(case: RoomCase, *, there: bool) -> datetime | None:
    before = case.room.status.lost_at
    if case.end_reason is not None or before is not None:
        return None if there else before
    return case.seen.livekit_room.at if case.is_lost else None


def _terminated_at(case: RoomCase, phase: RoomPhase, now: datetime) -> datetime | None:
    if case.end_reason is None:
        return None
    return case.room.status.terminated_at or (now if _is_gone_for_good(case, phase) else None)


def _is_gone_for_good(case: RoomCase, phase: RoomPhase) -> bool:
    certain = isinstance(case.seen.livekit_room, Absent) and case.seen.is_certainly_gone
    return phase is RoomPhase.TERMINATED or (phase is RoomPhase.FAILED and certain)


def _occupancy(case: RoomCase, phase: RoomPhase, *, there: bool) -> Occupancy | None:
    if there:
        return Occupancy.OCCUPIED if _count(case) else Occupancy.AVAILABLE
    if phase is RoomPhase.ACTIVE:
        return case.room.status.occupancy  # it cannot be read at the moment
    restoring = phase is RoomPhase.CREATING and case.room.status.created_at is not None
    return Occupancy.MAINTENANCE if restoring or phase is RoomPhase.TERMINATING else None
