"""What is true of a Room: whose it is, who may be in it, why it should not exist. Pure.

`rules.room_case` asks each of these once per look.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.api.conditions import ConditionType
from controller.api.meta import Condition, ConditionStatus
from controller.api.phases import RoomPhase
from controller.api.room import Room, RoomEndReason
from controller.facts.livekit import UNKNOWN_WORD, LiveKitParticipant, LiveKitRoom, Mark, metadata_digest
from controller.facts.observation import Absent, value_of
from controller.facts.room import RoomSeen
from controller.rules.drain import TELLING, ends_calls
from controller.rules.restores import is_given_up

# LiveKit's timeouts are precise to 0.4 s, and we learn of a departure with some delay.
_TIMEOUT_TOLERANCE = timedelta(seconds=1)

_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})
_RECORD_OVER = frozenset(phase.record for phase in _OVER)
_REASONS = frozenset(reason.value for reason in RoomEndReason)

# Participants of these kinds belong to the infrastructure and are never strangers; one of a kind that is new may, too.
_SERVICE_KINDS = frozenset({"EGRESS", "INGRESS", "AGENT", "SIP", "CONNECTOR", "BRIDGE", UNKNOWN_WORD})


def end_reason(room: Room, seen: RoomSeen, now: datetime) -> RoomEndReason | None:
    """Why the room should not exist, or None as long as it should."""
    if room.status.reason is not None:
        return room.status.reason
    if room.metadata.deletion_timestamp is not None:
        return RoomEndReason.DELETED
    if (before := _reason_of_before(room, seen)) is not None:
        return before
    if room.spec.termination_reason:
        return RoomEndReason.TERMINATED
    if (expiry := expiry_of(room)) is not None and now >= expiry:
        return RoomEndReason.EXPIRED
    if was_closed_empty(room, seen) and not _is_held(seen):
        return RoomEndReason.EMPTY
    if is_given_up(room, seen, now):
        return RoomEndReason.LOST
    if _is_drained(room, seen, now):
        return RoomEndReason.DRAINED
    return None


def _is_drained(room: Room, seen: RoomSeen, now: datetime) -> bool:
    """Whether it is the turn of a standing Room on a server whose drain ends calls, and its participants were told.

    A Room that was not made yet waits for a server that takes it.
    """
    turn = seen.drain_turn
    if turn is None or seen.owner is not None or room.status.created_at is None:
        return False
    return ends_calls(seen.server.drain, now) and (now >= turn + TELLING or not is_untold_of_drain(room, seen))


def _reason_of_before(room: Room, seen: RoomSeen) -> RoomEndReason | None:
    """Why the room is closed, where another client has taken that out of the status: a closed room stays closed.

    Two signs in the status say so. For a status without a phase the record in Redis does, which nothing opens again.
    """
    status, record = room.status, value_of(seen.record)
    told = next((one.reason for one in status.conditions if one.type == ConditionType.FINISHED and _is_true(one)), None)
    signs = sum((status.phase in _OVER, status.terminated_at is not None, told is not None))
    closed_as = record.status if record is not None and status.phase is None else status.phase
    if signs < 2 and not (status.phase is None and closed_as in _RECORD_OVER):
        return None
    if told in _REASONS:
        return RoomEndReason(told)
    return RoomEndReason.LOST if closed_as in {RoomPhase.FAILED, RoomPhase.FAILED.record} else RoomEndReason.TERMINATED


def _is_true(condition: Condition) -> bool:
    return condition.status is ConditionStatus.TRUE


def mark_of(room: Room, seen: RoomSeen) -> Mark:
    """Our mark for this Room; the root is the controlling Match, else the Room itself."""
    root_uid = seen.owner.uid if seen.owner is not None else room.metadata.uid
    return Mark(
        seen.cluster_id,
        room.metadata.namespace,
        room.metadata.name,
        root_uid,
        room.metadata.uid,
        metadata_digest(room.spec.metadata),
        seen.server.drain.id if seen.server.drain is not None else "",
    )


def has_other_metadata(room: Room, seen: RoomSeen) -> bool:
    """Whether the room on LiveKit is ours, and we wrote its metadata before the Room's metadata changed.

    What another client writes beside our mark is left alone.
    """
    livekit = value_of(seen.livekit_room)
    if livekit is None or livekit.mark is None or livekit.mark.room_uid != room.metadata.uid:
        return False
    return livekit.mark.digest != metadata_digest(room.spec.metadata)


def is_untold_of_drain(room: Room, seen: RoomSeen) -> bool:
    """Whether the room is ours, and does not say yet that its server is drained, or that it is no longer."""
    livekit = value_of(seen.livekit_room)
    if livekit is None or livekit.mark is None or livekit.mark.room_uid != room.metadata.uid:
        return False
    return seen.server.is_configured and livekit.mark.drain != mark_of(room, seen).drain


def is_foreign(room: Room, seen: RoomSeen) -> bool:
    """Whether the room of this name carries the mark of another Room.

    A room without any mark is ours: its name is made from our UID and never used again, so it was made by us, or with
    a token of ours.
    """
    livekit = value_of(seen.livekit_room)
    return livekit is not None and has_mark_of_another(room, livekit)


def has_mark_of_another(room: Room, livekit: LiveKitRoom) -> bool:
    """Whether the room on LiveKit carries the mark of another Room."""
    return livekit.mark is not None and livekit.mark.room_uid != room.metadata.uid


def is_revived(room: Room, seen: RoomSeen) -> bool:
    """Whether a client has made the room before us: it has no mark, and it is not the room that we know by its sid.

    If the room that we know has no mark, another client has overwritten its metadata, and may need what it wrote.
    """
    livekit = value_of(seen.livekit_room)
    return livekit is not None and livekit.mark is None and livekit.sid != room.status.sid


def was_closed_empty(room: Room, seen: RoomSeen) -> bool:
    """Whether LiveKit closed an empty room at its own timeout.

    The timeout counts from when the last participant left, or from when the room was made if no participant has come
    since.
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


def _is_held(seen: RoomSeen) -> bool:
    """Whether a Match has the Room: the Match decides when it is over, even later than LiveKit's timeouts."""
    return seen.owner is not None and not seen.owner.is_gone


def expiry_of(room: Room) -> datetime | None:
    """When a standing room is closed for its age; None if never."""
    if room.spec.max_age_seconds == 0 or room.metadata.creation_timestamp is None:
        return None
    return room.metadata.creation_timestamp + timedelta(seconds=room.spec.max_age_seconds)
