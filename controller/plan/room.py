"""The plan of a Room: the only place where a LiveKit room's life is decided.

Pure: (Room, what was seen, now) → Plan. Create and delete of one LiveKit name never overlap, because one key has one
worker. A room that should exist and is not there is made (again, under the same name: CreateRoom adopts a room that was
merely unlisted; how often, says `plan.restores`); one that should not exist is deleted again, whoever revived it.
Nothing is deleted that is not ours.
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
from controller.facts.room import RoomSeen
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
_RECORD_OVER = RoomPhase.TERMINATED.record
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
    if _closed_by_itself(room, seen, now):
        return RoomEndReason.EMPTY
    if is_given_up(room, seen, now):
        return RoomEndReason.LOST
    return None


def mark_of(room: Room, seen: RoomSeen) -> Mark:
    """Our mark for this Room; the root is the controlling Match, else the Room itself."""
    root_uid = seen.owner.uid if seen.owner is not None else room.metadata.uid
    return Mark(seen.cluster_id, room.metadata.namespace, room.metadata.name, root_uid, room.metadata.uid)


def is_foreign(room: Room, seen: RoomSeen) -> bool:
    """Whether a room of this name is there that is not ours.

    One without any mark is ours all the same if it is the very one that we made: somebody has written over its
    metadata.
    """
    livekit = value_of(seen.livekit_room)
    if livekit is None:
        return False
    if livekit.mark is None:
        return livekit.sid != room.status.sid
    return livekit.mark.room_uid != room.metadata.uid


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
    orphaned = reason is RoomEndReason.DELETED and room.spec.deletion_policy is DeletionPolicy.ORPHAN
    # A room that is not listed may still be alive (LiveKit lost its Redis): the deletion itself is the second read.
    certain = isinstance(seen.livekit_room, Absent) and seen.is_certainly_gone
    if not certain and not is_foreign(room, seen):
        if not orphaned:
            return Plan((DeleteLiveKitRoom(_target(room), _request(room, seen)),))
        if isinstance(seen.livekit_room, Present):
            metadata = tuple(sorted(room.spec.metadata.items()))
            return Plan((OrphanLiveKitRoom(_target(room), seen.livekit_name, metadata),))
    record = value_of(seen.record)
    if record is not None and record.status != _RECORD_OVER:
        return Plan((EndRoomRecord(_target(room), seen.livekit_name),))
    if isinstance(seen.record, Unknown):
        return Plan(waits_for=seen.record.why, blocked_by=Backend.REDIS)
    if room.metadata.deletion_timestamp is not None:
        return Plan((ReleaseFinalizer(_target(room)),))
    return Plan(waits_for="nothing: the room is gone")


def _create(room: Room, seen: RoomSeen, now: datetime) -> Plan | None:
    if isinstance(seen.livekit_room, Present):
        return None
    if isinstance(seen.livekit_room, Unknown) and room.status.created_at is not None:
        # It was there once, and may be there still: whether it has to be made again, the next list tells.
        return Plan(waits_for=seen.livekit_room.why, blocked_by=Backend.LIVEKIT)
    not_before = next_restore_at(room, now) if is_lost(room, seen) else None
    if not_before is not None and now < not_before:
        return Plan(deadline=not_before, waits_for="a moment to pass before it is restored once more")
    return Plan((CreateLiveKitRoom(_target(room), _request(room, seen)),), waits_for="LiveKit")


def _keep(room: Room, seen: RoomSeen, now: datetime) -> Plan | None:
    actions: list[AnyAction] = [
        RemoveStranger(_target(room), seen.livekit_name, stranger.identity, stranger.sid)
        for stranger in strangers(room, seen)
    ]
    record = value_of(seen.record)
    renew_at = from_milliseconds(record.last_updated_ms) + _RENEW_RECORD if record is not None else None
    # A record that is over stays over, whatever the room does: writing it again would change nothing.
    over = record is not None and record.status == _RECORD_OVER
    stale = record is None or record.status != RoomPhase.ACTIVE.record or (renew_at is not None and now >= renew_at)
    if stale and not over and not isinstance(seen.record, Unknown):
        actions.append(_record(room, seen, now))
    deadline = earliest(_expiry(room), renew_at if not stale else None)
    blocked_by = Backend.REDIS if isinstance(seen.record, Unknown) else None
    return Plan(tuple(actions), deadline, waits_for="its end", blocked_by=blocked_by)


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


def _record(room: Room, seen: RoomSeen, now: datetime) -> WriteRoomRecord:
    owner = seen.owner
    return WriteRoomRecord(
        _target(room),
        seen.livekit_name,
        owner.session_id if owner is not None else room.metadata.uid,
        owner.identities if owner is not None else room.spec.allowed_identities[:2],
        room.spec.max_participants,
        room.status.created_at or now,
    )


def _expiry(room: Room) -> datetime | None:
    """When a standing room is closed for its age; None if never."""
    if room.spec.max_age_seconds == 0 or room.metadata.creation_timestamp is None:
        return None
    return room.metadata.creation_timestamp + timedelta(seconds=room.spec.max_age_seconds)


def _closed_by_itself(room: Room, seen: RoomSeen, now: datetime) -> bool:
    """Whether LiveKit closed an empty room at its own timeout: that is meant, and it stays gone.

    Where nobody has been in since the room was made (again), the timeout counts from then; else from when the last one
    left.
    """
    empty_since = room.status.empty_since
    if empty_since is None or not isinstance(seen.livekit_room, Absent):
        return False
    never_used = empty_since in {room.status.created_at, *room.status.restored_at[-1:]}
    seconds = room.spec.empty_timeout_seconds if never_used else room.spec.departure_timeout_seconds
    closes_at = empty_since + timedelta(seconds=seconds) - _TIMEOUT_TOLERANCE
    return now >= closes_at and seen.livekit_room.at >= closes_at


def _target(room: Room) -> Target:
    metadata = room.metadata
    return Target(ROOM, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
