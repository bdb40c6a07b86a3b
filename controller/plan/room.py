"""The plan of a Room: the only place where a LiveKit room's life is decided.

Pure: (Room, what was seen, now) → Plan. Create and delete of one LiveKit name never overlap, because one key has one
worker. A room that should exist and is not there is made (again, under the same name: CreateRoom adopts a room that was
merely unlisted, or that a client has made meanwhile; how often, says `rules.restores`); one that should not exist is
deleted again, whoever revived it. Nothing is touched that carries the mark of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from controller.api.names import FINALIZER, PAUSED, ROOM
from controller.api.phases import RoomPhase
from controller.api.room import DeletionPolicy, Room, RoomEndReason
from controller.errors import Backend
from controller.facts.livekit import RoomRequest
from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.facts.room import RecordFacts, RoomSeen
from controller.facts.time import from_milliseconds
from controller.plan.actions import (
    AddFinalizer,
    AnyAction,
    CreateLiveKitRoom,
    DeleteLiveKitRoom,
    EndRoomRecord,
    OrphanLiveKitRoom,
    ReleaseFinalizer,
    RemoveStranger,
    Target,
    WriteRoomRecord,
)
from controller.plan.step import Plan, earliest
from controller.rules.restores import is_lost, next_restore_at
from controller.rules.room import end_reason, expiry_of, is_foreign, is_revived, mark_of, strangers

# The record lives for two hours and is renewed well before.
_RENEW_RECORD = timedelta(minutes=30)
_RECORD_OVER = frozenset({RoomPhase.TERMINATED.record, RoomPhase.FAILED.record})
# The script never opens these again: to plan it at every round would be a loop without end.
_RECORD_SHUT = _RECORD_OVER | {RoomPhase.TERMINATING.record}
# An owner that the caches have not shown yet is looked for again.
_LOOK_FOR_OWNER = timedelta(seconds=5)


def plan_room(room: Room, seen: RoomSeen, now: datetime) -> Plan:
    """The next step of this Room."""
    for step in _STEPS:
        plan = step(room, seen, now)
        if plan is not None:
            return plan
    raise AssertionError("the last step always has an answer")


def _paused(room: Room, _seen: RoomSeen, _now: datetime) -> Plan | None:
    if room.metadata.annotations.get(PAUSED) != "true":
        return None
    return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)


def _secured(room: Room, _seen: RoomSeen, _now: datetime) -> Plan | None:
    """Nothing is made on LiveKit before the finalizer is there."""
    if FINALIZER in room.metadata.finalizers:
        return None
    if room.metadata.deletion_timestamp is None:
        return Plan((AddFinalizer(_target(room)),))
    return Plan(waits_for="the end of the deletion")


def _foreign(room: Room, seen: RoomSeen, now: datetime) -> Plan | None:
    if not is_foreign(room, seen) or end_reason(room, seen, now) is not None:
        return None
    return Plan(deadline=now + timedelta(seconds=30), waits_for="somebody else's room of this name to go")


def _ending(room: Room, seen: RoomSeen, now: datetime) -> Plan | None:
    reason = end_reason(room, seen, now)
    if reason is None:
        return None
    if isinstance(seen.livekit_room, Unknown):
        return Plan(waits_for=seen.livekit_room.why, blocked_by=Backend.LIVEKIT)
    livekit = value_of(seen.livekit_room)
    orphaned = reason is RoomEndReason.DELETED and room.spec.deletion_policy is DeletionPolicy.ORPHAN
    # A room that is not listed may still be alive (LiveKit lost its Redis): the deletion itself is the second read.
    certain = isinstance(seen.livekit_room, Absent) and seen.is_certainly_gone
    if not certain and not is_foreign(room, seen):
        if not orphaned:
            delete = DeleteLiveKitRoom(_target(room), _request(room, seen), not _is_empty(room, seen, reason))
            return Plan((delete, *_shut_record(room, seen)))
        if livekit is not None and livekit.mark is not None:
            metadata = tuple(sorted(room.spec.metadata.items()))
            return Plan((OrphanLiveKitRoom(_target(room), seen.livekit_name, metadata),))
    if isinstance(seen.record, Unknown):
        return Plan(waits_for=seen.record.why, blocked_by=Backend.REDIS)
    if not _is_told(room, seen):
        status = RoomPhase.FAILED if reason is RoomEndReason.LOST else RoomPhase.TERMINATED
        return Plan((EndRoomRecord(_target(room), seen.livekit_name, status.record),))
    if room.metadata.deletion_timestamp is not None:
        return Plan((ReleaseFinalizer(_target(room)),))
    return Plan(waits_for="nothing: the room is gone")


def _create(room: Room, seen: RoomSeen, now: datetime) -> Plan | None:
    if isinstance(seen.livekit_room, Present):
        # What a client has made gets our mark: CreateRoom adopts it, and everybody in it stays.
        adopts = is_revived(room, seen)
        return Plan((CreateLiveKitRoom(_target(room), _request(room, seen)),)) if adopts else None
    if isinstance(seen.livekit_room, Unknown) and room.status.created_at is not None:
        # It was there once, and may be there still: whether it has to be made again, the next list tells.
        return Plan(waits_for=seen.livekit_room.why, blocked_by=Backend.LIVEKIT)
    told = _record_as(RoomPhase.CREATING, room, seen, now)
    not_before = next_restore_at(room, now) if is_lost(room, seen) else None
    if not_before is not None and now < not_before:
        return Plan(told, not_before, waits_for="a moment to pass before it is restored once more")
    return Plan((CreateLiveKitRoom(_target(room), _request(room, seen)), *told), waits_for="LiveKit")


def _keep(room: Room, seen: RoomSeen, now: datetime) -> Plan | None:
    actions: list[AnyAction] = [
        RemoveStranger(_target(room), seen.livekit_name, stranger.identity, stranger.sid)
        for stranger in strangers(room, seen)
    ]
    told = _record_as(RoomPhase.ACTIVE, room, seen, now)
    record, owner = value_of(seen.record), seen.owner
    deadline = earliest(
        expiry_of(room),
        _renewal_of(record) if record is not None and record.status not in _RECORD_SHUT and not told else None,
        now + _LOOK_FOR_OWNER if owner is not None and not owner.session_id and not owner.is_gone else None,
    )
    blocked_by = Backend.REDIS if isinstance(seen.record, Unknown) else None
    return Plan((*actions, *told), deadline, waits_for="its end", blocked_by=blocked_by)


_STEPS: tuple[Callable[[Room, RoomSeen, datetime], Plan | None], ...] = (
    _paused,
    _secured,
    _foreign,
    _ending,
    _create,
    _keep,
)


def _request(room: Room, seen: RoomSeen) -> RoomRequest:
    return RoomRequest(
        name=seen.livekit_name,
        max_participants=room.spec.max_participants,
        empty_timeout_seconds=room.spec.empty_timeout_seconds,
        departure_timeout_seconds=room.spec.departure_timeout_seconds,
        metadata=dict(room.spec.metadata),
        mark=mark_of(room, seen),
    )


def _record_as(phase: RoomPhase, room: Room, seen: RoomSeen, now: datetime) -> tuple[WriteRoomRecord, ...]:
    """The record in `phase`, where it does not say so already, or not for long enough any more."""
    record, owner = value_of(seen.record), seen.owner
    if isinstance(seen.record, Unknown) or (record is not None and record.status in _RECORD_SHUT):
        return ()
    if record is not None and record.status == phase.record and now < _renewal_of(record):
        return ()
    return (
        WriteRoomRecord(
            _target(room),
            seen.livekit_name,
            phase.record,
            owner.session_id if owner is not None else "",
            owner.identities if owner is not None else (),
            room.spec.max_participants,
            room.status.created_at or now,
            knows_call=owner is None or bool(owner.session_id),
        ),
    )


def _shut_record(room: Room, seen: RoomSeen) -> tuple[EndRoomRecord, ...]:
    """The record, where there is one, tells that the room is being closed."""
    record = value_of(seen.record)
    if record is None or record.status in _RECORD_SHUT:
        return ()
    return (EndRoomRecord(_target(room), seen.livekit_name, RoomPhase.TERMINATING.record),)


def _is_told(room: Room, seen: RoomSeen) -> bool:
    """Whether record and tombstone say that the room is over; one that is not there may never have been written."""
    record = value_of(seen.record)
    if record is not None:
        return record.status in _RECORD_OVER
    return room.status.terminated_at is not None and room.metadata.deletion_timestamp is None


def _renewal_of(record: RecordFacts) -> datetime:
    return from_milliseconds(record.last_updated_ms) + _RENEW_RECORD


def _is_empty(room: Room, seen: RoomSeen, reason: RoomEndReason) -> bool:
    """Whether it is certain that nobody is in the room. An unlisted room lists nobody, whoever is in it."""
    return reason is RoomEndReason.EMPTY or (room.status.empty_since is not None and value_of(seen.people) == ())


def _target(room: Room) -> Target:
    metadata = room.metadata
    return Target(ROOM, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
