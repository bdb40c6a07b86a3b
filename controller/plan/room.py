"""The plan of a Room: the only place where a LiveKit room's life is decided.

Pure: (Room, what was seen, now) → Plan. Create and delete of one LiveKit name never overlap, because one key has one
worker. A room that should exist and is not there is made (again, under the same name: CreateRoom adopts a room that was
merely unlisted, or that a client has made meanwhile; how often, says `plan.restores`); one that should not exist is
deleted again, whoever revived it. Nothing is touched that carries the mark of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from controller.api.names import FINALIZER, PAUSED, ROOM
from controller.api.phases import RoomPhase
from controller.api.room import DeletionPolicy, Room, RoomEndReason
from controller.errors import Backend
from controller.facts.livekit import LiveKitParticipant, Mark, RoomRequest
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
from controller.plan.plan import Plan, earliest
from controller.plan.restores import is_given_up, is_lost, next_restore_at

# The record lives for two hours and is renewed well before.
_RENEW_RECORD = timedelta(minutes=30)
# LiveKit's timeouts are precise to 0.4 s, and we hear of a departure with some delay.
_TIMEOUT_TOLERANCE = timedelta(seconds=1)
_RECORD_OVER = frozenset({RoomPhase.TERMINATED.record, RoomPhase.FAILED.record})
# The script never opens these again: to plan it at every round would be a loop without end.
_RECORD_SHUT = _RECORD_OVER | {RoomPhase.TERMINATING.record}
# An owner that the caches have not shown yet is looked for again.
_LOOK_FOR_OWNER = timedelta(seconds=5)
# Participants of these kinds belong to the infrastructure and are never strangers.
_SERVICE_KINDS = frozenset({"EGRESS", "INGRESS", "AGENT", "SIP", "CONNECTOR", "BRIDGE"})


def plan_room(room: Room, seen: RoomSeen, now: datetime) -> Plan:
    """The next step of this Room."""
    for step in _STEPS:
        plan = step(room, seen, now)
        if plan is not None:
            return plan
    raise AssertionError("the last step always has an answer")


def end_reason(room: Room, seen: RoomSeen, now: datetime) -> RoomEndReason | None:
    """Why the room should not exist (any more), or None as long as it should."""
    if room.status.reason is not None:
        return room.status.reason
    if room.metadata.deletion_timestamp is not None:
        return RoomEndReason.DELETED
    if room.spec.termination_reason:
        return RoomEndReason.TERMINATED
    if (expiry := _expiry(room)) is not None and now >= expiry:
        return RoomEndReason.EXPIRED
    if was_closed_empty(room, seen) and not _is_held(seen):
        return RoomEndReason.EMPTY
    if is_given_up(room, seen, now):
        return RoomEndReason.LOST
    return None


def mark_of(room: Room, seen: RoomSeen) -> Mark:
    """Our mark for this Room; the root is the controlling Match, else the Room itself."""
    root_uid = seen.owner.uid if seen.owner is not None else room.metadata.uid
    return Mark(seen.cluster_id, room.metadata.namespace, room.metadata.name, root_uid, room.metadata.uid)


def is_foreign(room: Room, seen: RoomSeen) -> bool:
    """Whether the room of this name carries the mark of somebody else.

    One without any mark is ours: its name is made from our UID and never used again, so it was made by us, or with a
    token of ours.
    """
    livekit = value_of(seen.livekit_room)
    return livekit is not None and livekit.mark is not None and livekit.mark.room_uid != room.metadata.uid


def is_revived(room: Room, seen: RoomSeen) -> bool:
    """Whether a client has made the room (again) before us: it has no mark, and is not the one that we know.

    The very one that we know has had its metadata written over, by somebody who may need what they wrote.
    """
    livekit = value_of(seen.livekit_room)
    return livekit is not None and livekit.mark is None and livekit.sid != room.status.sid


def was_closed_empty(room: Room, seen: RoomSeen) -> bool:
    """Whether LiveKit closed an empty room at its own timeout.

    Where nobody has been in since the room was made (again), the timeout counts from then; else from when the last one
    left.
    """
    empty_since = room.status.empty_since
    if empty_since is None or not isinstance(seen.livekit_room, Absent):
        return False
    never_used = empty_since in {room.status.created_at, *room.status.restored_at[-1:]}
    seconds = room.spec.empty_timeout_seconds if never_used else room.spec.departure_timeout_seconds
    missing_since = room.status.lost_at or seen.livekit_room.at
    return missing_since >= empty_since + timedelta(seconds=seconds) - _TIMEOUT_TOLERANCE


def strangers(room: Room, seen: RoomSeen) -> tuple[LiveKitParticipant, ...]:
    """People who are in the room and not in its allowedIdentities."""
    people = value_of(seen.people)
    if not room.spec.allowed_identities or people is None:
        return ()
    allowed = frozenset(room.spec.allowed_identities)
    return tuple(p for p in people if p.identity not in allowed and p.kind not in _SERVICE_KINDS)


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
        _expiry(room),
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


def _is_held(seen: RoomSeen) -> bool:
    """Whether a Match has the Room: it decides when it is over, also if it does so later than LiveKit's timeouts."""
    return seen.owner is not None and not seen.owner.is_gone


def _is_empty(room: Room, seen: RoomSeen, reason: RoomEndReason) -> bool:
    """Whether it is certain that nobody is in the room. An unlisted room lists nobody, whoever is in it."""
    return reason is RoomEndReason.EMPTY or (room.status.empty_since is not None and value_of(seen.people) == ())


def _expiry(room: Room) -> datetime | None:
    """When a standing room is closed for its age; None if never."""
    if room.spec.max_age_seconds == 0 or room.metadata.creation_timestamp is None:
        return None
    return room.metadata.creation_timestamp + timedelta(seconds=room.spec.max_age_seconds)


def _target(room: Room) -> Target:
    metadata = room.metadata
    return Target(ROOM, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
