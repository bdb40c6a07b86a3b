"""Why a Match ends: an ordered list of small functions, the first that has an answer wins.

What is recorded comes first (the ledger is the commit point of an ending, then the status), then what somebody wants:
the wish in `spec.termination`, a gateway's signal, deletion (whoever writes the wish and deletes at once wants the
wish). Then what has become impossible, and last what time has decided (`rules.timeouts`). The rows themselves are in
`api.endings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controller.api.endings import ENDINGS, EndReason
from controller.api.match import Match, TerminationAction
from controller.api.phases import RoomPhase
from controller.facts.match import MatchSeen
from controller.facts.observation import Unknown, value_of
from controller.rules import timeouts
from controller.rules.end_cause import EndCause, failed, make_cause, read_evidence

_ROOM_IS_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})


def cause_of_end(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    """The cause that ends the Match, or None as long as it goes on."""
    for find in _CAUSES:
        cause = find(match, seen, now)
        if cause is not None:
            return cause
    return None


def is_claimed(seen: MatchSeen) -> bool:
    """Whether the ledger says that the users are ours."""
    ledger = value_of(seen.ledger)
    return ledger is not None and ledger.claimed


def _recorded_in_ledger(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    ledger = value_of(seen.ledger)
    if ledger is None or ledger.end is None or not ledger.end.cause.reason:
        return None
    stored = ledger.end.cause
    reason = EndReason(stored.reason)
    if not ledger.settled:
        wanted = _terminated(match, seen, now) or _wished(match, seen, now)
        if wanted is not None and wanted.reason in ENDINGS[reason].superseded_by:
            return replace(wanted, replaces=reason.value)
    code, subject, decided = read_evidence(stored.evidence)
    cause = make_cause(match, reason, stored.message, initiator=stored.initiator, subject=subject, code=code)
    return replace(cause, outcomes=decided)


def _recorded_in_status(match: Match, _seen: MatchSeen, _now: datetime) -> EndCause | None:
    end = match.status.end
    if end is None:
        return None
    return make_cause(
        match, end.reason, end.message or "", initiator=end.initiator or "", code=match.status.reason or ""
    )


def _deleted(match: Match, _seen: MatchSeen, _now: datetime) -> EndCause | None:
    if match.metadata.deletion_timestamp is None:
        return None
    return make_cause(match, EndReason.DELETED, ENDINGS[EndReason.DELETED].sentence())


def _terminated(match: Match, _seen: MatchSeen, _now: datetime) -> EndCause | None:
    wish = match.spec.termination
    if wish is None:
        return None
    reason = {
        TerminationAction.SKIP: EndReason.SKIPPED,
        TerminationAction.END: EndReason.ENDED,
        TerminationAction.DISCONNECT: EndReason.DISCONNECTED,
    }[wish.action]
    subject = wish.target if wish.action is TerminationAction.DISCONNECT else wish.initiator
    message = ENDINGS[reason].sentence(who=subject or "", detail=wish.reason)
    return make_cause(match, reason, message, initiator=wish.initiator, subject=frozenset({subject or ""}))


def _wished(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    """A gateway's signal, or an older client's flag."""
    ledger = value_of(seen.ledger)
    wish = ledger.wish if ledger is not None else None
    reason = _WISHES.get(wish.action) if wish is not None else None
    if wish is None or reason is None:
        return None
    initiator = wish.by or ("" if reason is EndReason.DISCONNECTED else wish.user)
    message = ENDINGS[reason].sentence(who=wish.user, detail=wish.reason)
    if wish.via != "signal":
        message += f" (flag {wish.via})"
    return make_cause(match, reason, message, initiator=initiator, subject=frozenset({wish.user}))


_WISHES = {"skip": EndReason.SKIPPED, "end": EndReason.ENDED, "disconnect": EndReason.DISCONNECTED}


def _users_not_to_be_had(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    refusal = seen.refusal
    # A holder that is on its way out lets the user go in a moment: that is worth waiting for.
    if refusal is None or is_claimed(seen) or refusal.holder_is_ending:
        return None
    why = _REFUSALS[refusal.code].format(holder=refusal.holder)
    return failed(refusal.code, f"{refusal.identity} {why}. Nobody was taken, and everybody is where they were")


_REFUSALS = {
    "UserBusy": "is in another match, {holder}; end that one first, or match somebody who is free",
    "UserReserved": "is reserved for the match {holder}; create that one, or wait until the reservation runs out",
    "UserNotQueued": "neither waits in the queue nor is reserved for this match, and admission is Queued; "
    "enqueue the user first, or use admission: Any",
    "UserBlocked": "is blocked and takes part in no match",
}


def _own_room_deleted(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    if match.status.ready_at is None or isinstance(seen.room, Unknown):
        return None
    room = value_of(seen.room)
    if seen.audit.room_is_buried:
        detail = "somebody left a tombstone for it in Redis"
    elif room is None or room.metadata.deletion_timestamp is not None:
        detail = "its Room was deleted"
    elif room.status.phase in _ROOM_IS_OVER:
        detail = f"its Room is {room.status.phase} ({room.status.reason or 'the room on LiveKit is not ours'})"
    else:
        return None
    return make_cause(match, EndReason.ROOM_LOST, ENDINGS[EndReason.ROOM_LOST].sentence(detail=detail))


def _taken_away(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    """The record of a user says that this Match holds them no more: somebody else has let them go."""
    strays = seen.audit.strays
    if not strays:
        return None
    names = " and ".join(sorted(strays))
    message = ENDINGS[EndReason.DISCONNECTED].sentence(
        who=names, detail="their record in Redis names this match no more"
    )
    return make_cause(match, EndReason.DISCONNECTED, message, subject=strays, code="UserTakenAway")


_CAUSES: tuple[Callable[[Match, MatchSeen, datetime], EndCause | None], ...] = (
    _recorded_in_ledger,
    _recorded_in_status,
    _terminated,
    _wished,
    _deleted,
    _users_not_to_be_had,
    timeouts.too_late,
    _own_room_deleted,
    _taken_away,
    timeouts.no_show,
    timeouts.gone_too_long,
    timeouts.silent,
    timeouts.abandoned,
    timeouts.max_duration,
)
