"""Why a Match ends: an ordered list of small functions; the first that has an answer wins. Pure.

A stored cause comes first (the ledger is the commit point of an ending, then the status). Then come the wishes:
`spec.termination`, a gateway's signal, the deletion. A client that writes the termination and deletes at once gets the
reason of the termination. Then comes what has become impossible, and last what time decides (`rules.timeouts`). The
rows are in `api.endings`; `rules.match_case` asks once per look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controller.api.endings import ENDINGS, EndCode, EndReason
from controller.api.fields import MAX_ATTRIBUTES_BYTES, attributes_bytes
from controller.api.match import TerminationAction
from controller.api.phases import RoomPhase
from controller.api.tolerant import is_known
from controller.facts.ledger import VIA_SIGNAL
from controller.facts.observation import Unknown, value_of
from controller.rules import timeouts
from controller.rules.drain import drained
from controller.rules.end_cause import UNKNOWN_REASON, EndCause, failed, make_cause, read_cause, read_word
from controller.rules.match_look import MatchLook
from controller.rules.room import has_mark_of_another

_ROOM_IS_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})

_REASONS = {
    TerminationAction.SKIP: EndReason.SKIPPED,
    TerminationAction.END: EndReason.ENDED,
    TerminationAction.DISCONNECT: EndReason.DISCONNECTED,
}

_REFUSALS = {
    EndCode.USER_BUSY: "is in another match, {holder}; end that one first, or match a user who is free",
    EndCode.USER_RESERVED: "is reserved for the match {holder}; create that one, or wait until the reservation expires",
    EndCode.USER_NOT_QUEUED: "neither waits in the queue nor is reserved for this match, and admission is Queued or "
    "the user has just left the queue; enqueue the user first",
    EndCode.USER_BLOCKED: "is blocked and takes part in no Match",
}


def cause_of_end(look: MatchLook) -> EndCause | None:
    """The cause that ends the Match, or None as long as it goes on."""
    for find in _CAUSES:
        cause = find(look)
        if cause is not None:
            return cause
    return None


def _stored_in_ledger(look: MatchLook) -> EndCause | None:
    ledger = look.ledger
    if ledger is None or ledger.end is None or not ledger.end.cause.reason:
        return None
    stored = ledger.end.cause
    cause = read_cause(look.match, stored)
    if not ledger.settled:
        wanted = _terminated(look) or _wished(look)
        if wanted is not None and wanted.reason in ENDINGS[cause.reason].superseded_by:
            return replace(wanted, replaces=stored.reason)
    return cause


def _stored_in_status(look: MatchLook) -> EndCause | None:
    status = look.match.status
    if status.end is None:
        return _end_was_removed(look) if look.was_over else None
    return make_cause(
        look.match,
        status.end.reason if is_known(status.end.reason) else UNKNOWN_REASON,
        status.end.message or "",
        initiator=status.end.initiator or "",
        code=read_word(status.reason or ""),
    )


def _end_was_removed(look: MatchLook) -> EndCause:
    """The end of a Match that is over, after another client took it out of the status: the condition has it too."""
    status = look.match.status
    reasons = {reason.value: reason for reason in EndReason}
    reason, message = UNKNOWN_REASON, "another client removed the end from the status"
    if (finished := status.finished) is not None:
        reason, message = reasons.get(finished.reason, UNKNOWN_REASON), finished.message
    return make_cause(look.match, reason, message, code=read_word(status.reason or ""))


def _deleted(look: MatchLook) -> EndCause | None:
    if look.match.metadata.deletion_timestamp is None:
        return None
    return make_cause(look.match, EndReason.DELETED, ENDINGS[EndReason.DELETED].sentence())


def _terminated(look: MatchLook) -> EndCause | None:
    wish = look.match.spec.termination
    if wish is None or not is_known(wish.action):
        return None
    reason = _REASONS[wish.action]
    subject = wish.target if wish.action is TerminationAction.DISCONNECT else wish.initiator
    message = ENDINGS[reason].sentence(who=subject or "", detail=wish.reason)
    return make_cause(look.match, reason, message, initiator=wish.initiator, subject=frozenset({subject or ""}))


def _wished(look: MatchLook) -> EndCause | None:
    """A gateway's signal, or an older client's flag."""
    wish = look.ledger.wish if look.ledger is not None else None
    if wish is None:
        return None
    reason = _REASONS[wish.action]
    initiator = wish.by or ("" if wish.action is TerminationAction.DISCONNECT else wish.user)
    message = ENDINGS[reason].sentence(who=wish.user, detail=wish.reason)
    if wish.via != VIA_SIGNAL:
        message += f" (flag {wish.via})"
    return make_cause(look.match, reason, message, initiator=initiator, subject=frozenset({wish.user}))


def _users_are_unavailable(look: MatchLook) -> EndCause | None:
    refusal = look.seen.refusal
    # A holder that is ending releases the user in a moment, so it is worth waiting for.
    # A Match that has started is restored, not claimed, and a refused restore ends no call.
    if refusal is None or look.is_claimed or refusal.holder_is_ending or look.match.status.started_at is not None:
        return None
    why = _REFUSALS[refusal.code].format(holder=refusal.holder)
    return failed(refusal.code, f"{refusal.identity} {why}. No user was claimed, and both are where they were before")


def _cannot_join(look: MatchLook) -> EndCause | None:
    """LiveKit would refuse a participant. The API server refuses such a Match, unless its CRD is an older one."""
    if look.match.status.ready_at is not None:
        return None
    for person in look.match.spec.participants:
        size = attributes_bytes(person.attributes)
        if size > MAX_ATTRIBUTES_BYTES:
            return failed(
                EndCode.ATTRIBUTES_TOO_LARGE,
                f"the attributes of {person.identity} are {size} bytes in total, and LiveKit refuses a participant "
                f"with more than {MAX_ATTRIBUTES_BYTES}; both users are where they were before",
            )
    return None


def _own_room_is_gone(look: MatchLook) -> EndCause | None:
    seen = look.seen
    if look.match.status.ready_at is None or isinstance(seen.room, Unknown):
        return None
    room = value_of(seen.room)
    if seen.audit.room_has_tombstone:
        detail = "another service left a tombstone for it in Redis"
    elif room is None or room.metadata.deletion_timestamp is not None:
        detail = "its Room was deleted"
    elif room.status.phase in _ROOM_IS_OVER and room.status.reason is not None:
        detail = f"its Room is {room.status.phase} ({room.status.reason})"
    elif look.livekit_room is not None and has_mark_of_another(room, look.livekit_room):
        detail = "the room on LiveKit is not ours"
    else:
        return None
    return make_cause(look.match, EndReason.ROOM_LOST, ENDINGS[EndReason.ROOM_LOST].sentence(detail=detail))


def _taken_away(look: MatchLook) -> EndCause | None:
    """The record of a user says that this Match does not hold them: another service has changed it.

    It counts only beside a ledger: where Redis lost that too, the record may be older than the call.
    """
    taken_away = look.seen.audit.taken_away
    if not taken_away or not look.is_claimed:
        return None
    names = " and ".join(sorted(taken_away))
    message = ENDINGS[EndReason.DISCONNECTED].sentence(
        who=names, detail="their record in Redis no longer names this match"
    )
    code = EndCode.USER_TAKEN_AWAY
    return make_cause(look.match, EndReason.DISCONNECTED, message, subject=taken_away, code=code)


_CAUSES: tuple[Callable[[MatchLook], EndCause | None], ...] = (
    _stored_in_ledger,
    _stored_in_status,
    _terminated,
    _wished,
    _deleted,
    _users_are_unavailable,
    _cannot_join,
    timeouts.too_late,
    _own_room_is_gone,
    _taken_away,
    drained,
    timeouts.no_show,
    timeouts.gone_too_long,
    timeouts.silent,
    timeouts.abandoned,
    timeouts.max_duration,
)
