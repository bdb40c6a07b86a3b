"""The plan of a Room: the only place that decides about the life of a LiveKit room. Pure.

Create and delete of one LiveKit name never overlap, because one key has one worker. A room that should exist and is not
there is made, or made again under the same name (`rules.restores` says how often): CreateRoom adopts a room that was
only unlisted, or that a client has made meanwhile. A room that should not exist is deleted, also when a client revives
it. A room with the mark of another Room is never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from controller.api.names import FINALIZER, PAUSED, ROOM
from controller.api.phases import RoomPhase
from controller.api.room import DeletionPolicy, RoomEndReason
from controller.errors import Backend
from controller.facts.livekit import RoomRequest
from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.facts.room import RecordFacts
from controller.facts.time import from_milliseconds
from controller.plan.actions import (
    AddFinalizer,
    AnyAction,
    CreateLiveKitRoom,
    DeleteLiveKitRoom,
    EndRoomRecord,
    OrphanLiveKitRoom,
    PlaceRoom,
    ReleaseFinalizer,
    RemoveStranger,
    Target,
    TellRoomOfDrain,
    UpdateLiveKitMetadata,
    WriteRoomRecord,
)
from controller.plan.step import Plan, earliest
from controller.rules.drain import TELLING
from controller.rules.paused import pause_of_room
from controller.rules.placement import server_of
from controller.rules.room_case import RoomCase

# The record lives for two hours and is renewed well before.
_RENEW_RECORD = timedelta(minutes=30)
_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})
_RECORD_OVER = frozenset(phase.record for phase in _OVER)
# The script never opens these records again: planning it in every round would be an endless loop.
_RECORD_SHUT = _RECORD_OVER | {RoomPhase.TERMINATING.record}
# When to look again for an owner that the caches have not shown yet.
_LOOK_FOR_OWNER = timedelta(seconds=5)


def plan_room(case: RoomCase) -> Plan:
    """The next step of this Room."""
    for step in _STEPS:
        plan = step(case)
        if plan is not None:
            return plan.by(case.gives_up_at)
    raise AssertionError("the last step always has an answer")


def _paused(case: RoomCase) -> Plan | None:
    if pause_of_room(case.room, case.seen) is None:
        return None
    return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)


def _secured(case: RoomCase) -> Plan | None:
    """Nothing is made on LiveKit before the finalizer is there."""
    if FINALIZER in case.room.metadata.finalizers:
        return None
    if case.room.metadata.deletion_timestamp is None:
        return Plan((AddFinalizer(_target(case)),))
    return Plan(waits_for="the end of the deletion")


def _foreign(case: RoomCase) -> Plan | None:
    if not case.is_foreign or case.end_reason is not None:
        return None
    return Plan(
        deadline=case.now + timedelta(seconds=30), waits_for="the room of this name that carries another mark to go"
    )


def _ending(case: RoomCase) -> Plan | None:
    reason = case.end_reason
    if reason is None:
        return None
    left = {Backend.LIVEKIT: _close(case, reason), Backend.REDIS: _end_record(case, reason)}
    # An orphan needs LiveKit: as long as it has our mark, the sweep would close it with the people in it.
    given_up = case.given_up - {Backend.LIVEKIT} if _is_orphan(case, reason) else case.given_up
    for backend, plan in left.items():
        if plan is not None and backend not in given_up:
            return plan
    if case.room.metadata.deletion_timestamp is not None:
        without = tuple(backend for backend, plan in left.items() if plan is not None)
        return Plan((ReleaseFinalizer(_target(case), without),))
    return Plan(waits_for="nothing: the room is gone")


def _close(case: RoomCase, reason: RoomEndReason) -> Plan | None:
    """What is left to do on LiveKit."""
    if isinstance(case.seen.livekit_room, Unknown):
        if _was_closed_before_its_server_went(case):
            return None
        return Plan(waits_for=case.seen.livekit_room.why, blocked_by=Backend.LIVEKIT)
    livekit = case.livekit_room
    # A room that is not listed may still be alive (LiveKit lost its Redis): the deletion is the second read.
    certain = isinstance(case.seen.livekit_room, Absent) and case.seen.is_certainly_gone
    if certain or case.is_foreign:
        return None
    if not _is_orphan(case, reason):
        delete = DeleteLiveKitRoom(_target(case), _request(case), not _is_empty(case, reason))
        return Plan((delete, *_shut_record(case)))
    if livekit is not None and livekit.mark is not None:
        metadata = tuple(sorted(case.room.spec.metadata.items()))
        return Plan((OrphanLiveKitRoom(_target(case), case.seen.livekit_name, metadata),))
    return None


def _was_closed_before_its_server_went(case: RoomCase) -> bool:
    """Whether nothing is left of the room on a server that is no longer configured."""
    status = case.room.status
    return not case.seen.server.is_configured and status.phase in _OVER and status.terminated_at is not None


def _is_orphan(case: RoomCase, reason: RoomEndReason) -> bool:
    """Whether the room is left to its participants. LiveKit closes it when it is empty.

    A policy that this version does not know may mean to keep the room, too.
    """
    return reason is RoomEndReason.DELETED and case.room.spec.deletion_policy is not DeletionPolicy.DELETE


def _end_record(case: RoomCase, reason: RoomEndReason) -> Plan | None:
    """What is left to do in Redis."""
    if isinstance(case.seen.record, Unknown):
        return Plan(waits_for=case.seen.record.why, blocked_by=Backend.REDIS)
    if _is_told(case):
        return None
    status = RoomPhase.FAILED if reason is RoomEndReason.LOST else RoomPhase.TERMINATED
    leaves_tombstone = not _is_orphan(case, reason)
    return Plan((EndRoomRecord(_target(case), case.seen.livekit_name, status.record, leaves_tombstone),))


def _place(case: RoomCase) -> Plan | None:
    """The server is written down before anything is made there, so that a restart does not choose another one."""
    written = server_of(case.room)
    if case.room.status.created_at is not None or (written and written == case.seen.server.name):
        return None
    moved_to = case.seen.server.name if written else ""
    place = PlaceRoom(_target(case), case.room.spec.placement, moved_to)
    return Plan((place,), waits_for="a LiveKit server that can take the room")


def _create(case: RoomCase) -> Plan | None:
    if isinstance(case.seen.livekit_room, Present):
        # A room that a client has made gets our mark: CreateRoom adopts it, and the people in it stay.
        adopts = case.is_revived
        return Plan((CreateLiveKitRoom(_target(case), _request(case)),)) if adopts else None
    if isinstance(case.seen.livekit_room, Unknown) and case.room.status.created_at is not None:
        # It was there once, and may still be: the next list tells whether it has to be made again.
        return Plan(waits_for=case.seen.livekit_room.why, blocked_by=Backend.LIVEKIT)
    told = _record_as(RoomPhase.CREATING, case)
    not_before = case.next_restore_at
    if not_before is not None and case.now < not_before:
        return Plan(told, not_before, waits_for="the pause before it is restored again")
    return Plan((CreateLiveKitRoom(_target(case), _request(case)), *told), waits_for="LiveKit")


def _keep(case: RoomCase) -> Plan | None:
    actions: list[AnyAction] = [
        RemoveStranger(_target(case), case.seen.livekit_name, stranger.identity, stranger.sid)
        for stranger in case.strangers
    ]
    if case.is_untold_of_drain:
        actions.append(_tell_of_drain(case))
    elif case.has_other_metadata:
        actions.append(UpdateLiveKitMetadata(_target(case), _request(case)))
    told = _record_as(RoomPhase.ACTIVE, case)
    record, owner = case.record, case.seen.owner
    deadline = earliest(
        case.expiry,
        _last_wait_for_telling(case),
        _renewal_of(record) if record is not None and record.status not in _RECORD_SHUT and not told else None,
        case.now + _LOOK_FOR_OWNER if owner is not None and not owner.session_id and not owner.is_gone else None,
    )
    blocked_by = Backend.REDIS if isinstance(case.seen.record, Unknown) else None
    return Plan((*actions, *told), deadline, waits_for="its end", blocked_by=blocked_by)


_STEPS: tuple[Callable[[RoomCase], Plan | None], ...] = (
    _paused,
    _secured,
    _foreign,
    _ending,
    _place,
    _create,
    _keep,
)


def _tell_of_drain(case: RoomCase) -> TellRoomOfDrain:
    known = case.livekit_room.mark if case.livekit_room is not None else None
    has_people = value_of(case.seen.people) != ()
    return TellRoomOfDrain(_target(case), _request(case), known.drain if known is not None else "", has_people)


def _request(case: RoomCase) -> RoomRequest:
    return RoomRequest(
        name=case.seen.livekit_name,
        max_participants=case.room.spec.max_participants,
        empty_timeout_seconds=case.room.spec.empty_timeout_seconds,
        departure_timeout_seconds=case.room.spec.departure_timeout_seconds,
        metadata=dict(case.room.spec.metadata),
        mark=case.mark,
        drain=case.seen.server.drain,
    )


def _record_as(phase: RoomPhase, case: RoomCase) -> tuple[WriteRoomRecord, ...]:
    """Write the record in `phase`, unless it says so already and need not be renewed yet."""
    record, owner = case.record, case.seen.owner
    if isinstance(case.seen.record, Unknown) or (record is not None and record.status in _RECORD_SHUT):
        return ()
    if record is not None and record.status == phase.record and case.now < _renewal_of(record):
        return ()
    return (
        WriteRoomRecord(
            _target(case),
            case.seen.livekit_name,
            phase.record,
            owner.session_id if owner is not None else "",
            owner.identities if owner is not None else (),
            case.room.spec.max_participants,
            case.room.status.created_at or case.now,
            knows_call=owner is None or bool(owner.session_id),
        ),
    )


def _shut_record(case: RoomCase) -> tuple[EndRoomRecord, ...]:
    """Write into the record, if there is one, that the room is being closed."""
    record = case.record
    if record is None or record.status in _RECORD_SHUT:
        return ()
    return (EndRoomRecord(_target(case), case.seen.livekit_name, RoomPhase.TERMINATING.record),)


def _is_told(case: RoomCase) -> bool:
    """Whether record and tombstone say that the room is over; a record that is absent may never have been written."""
    record = case.record
    if record is not None:
        return record.status in _RECORD_OVER
    return case.room.status.terminated_at is not None and case.room.metadata.deletion_timestamp is None


def _renewal_of(record: RecordFacts) -> datetime:
    return from_milliseconds(record.last_updated_ms) + _RENEW_RECORD


def _last_wait_for_telling(case: RoomCase) -> datetime | None:
    """Until when a standing Room, whose turn it is to end, waits for its participants to be told."""
    turn = case.seen.drain_turn
    return turn + TELLING if turn is not None and case.now < turn + TELLING else None


def _is_empty(case: RoomCase, reason: RoomEndReason) -> bool:
    """Whether the room is certainly empty. LiveKit lists no people of an unlisted room, even if there are some."""
    return reason is RoomEndReason.EMPTY or (
        case.room.status.empty_since is not None and value_of(case.seen.people) == ()
    )


def _target(case: RoomCase) -> Target:
    metadata = case.room.metadata
    return Target(ROOM, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
