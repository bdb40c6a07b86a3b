"""Why a Match ends: an ordered list of small functions, the first that has an answer wins.

What is recorded comes first (the ledger is the commit point of an ending, then the status), then the wish in
`spec.termination` and deletion (whoever writes the wish and deletes at once wants the wish), then what has become
impossible, and last what time has decided. A deadline counts only for observations made after it. The rows themselves
are in `api.endings`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controller.api.endings import ENDINGS, EndReason, Rollback
from controller.api.match import Match, TerminationAction
from controller.api.phases import RoomPhase
from controller.facts.deadlines import (
    connect_deadline,
    duration_deadline,
    ready_deadline,
    return_deadlines,
    said_goodbye,
)
from controller.facts.match import MatchSeen
from controller.facts.observation import Present, Unknown, value_of
from controller.plan.presence import Presence, presences
from controller.plan.readiness import is_ready

_ROOM_IS_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})


@dataclass(frozen=True, slots=True)
class EndCause:
    """Why the Match ends. `code` is the word for the condition, `subject` whom `Others` leaves out."""

    reason: EndReason
    code: str
    message: str
    initiator: str = ""
    subject: frozenset[str] = frozenset()
    is_rollback: bool = False

    def evidence(self) -> str:
        """What the ledger keeps beside reason, initiator and message."""
        return json.dumps({"code": self.code, "subject": sorted(self.subject)})


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


def _recorded_in_ledger(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    ledger = value_of(seen.ledger)
    if ledger is None or ledger.end is None or not ledger.end.cause.reason:
        return None
    stored = ledger.end.cause
    code, subject = _read_evidence(stored.evidence)
    return _cause(
        match, EndReason(stored.reason), stored.message, initiator=stored.initiator, subject=subject, code=code
    )


def _recorded_in_status(match: Match, _seen: MatchSeen, _now: datetime) -> EndCause | None:
    end = match.status.end
    if end is None:
        return None
    return _cause(match, end.reason, end.message or "", initiator=end.initiator or "", code=match.status.reason or "")


def _deleted(match: Match, _seen: MatchSeen, _now: datetime) -> EndCause | None:
    if match.metadata.deletion_timestamp is None:
        return None
    return _cause(match, EndReason.DELETED, ENDINGS[EndReason.DELETED].sentence())


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
    return _cause(match, reason, message, initiator=wish.initiator, subject=frozenset({subject or ""}))


def _users_not_to_be_had(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    refusal = seen.refusal
    # A holder that is on its way out lets the user go in a moment: that is worth waiting for.
    if refusal is None or is_claimed(seen) or refusal.holder_is_ending:
        return None
    return _failed(refusal.code, f"{refusal.identity} {_REFUSALS[refusal.code].format(holder=refusal.holder)}")


_REFUSALS = {
    "UserBusy": "is in another match, {holder}; end that one first, or match somebody who is free",
    "UserReserved": "is reserved for the match {holder}; create that one, or wait until the reservation runs out",
    "UserNotQueued": "neither waits in the queue nor is reserved for this match, and admission is Queued; "
    "enqueue the user first, or use admission: Any",
    "UserBlocked": "is blocked and takes part in no match",
}


def _too_late(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    if match.status.ready_at is not None or now < ready_deadline(match) or is_ready(match, seen, now):
        return None
    return _failed(
        "TooLate",
        f"not Ready within {match.spec.timeouts.ready_seconds} s of its creation ({_obstacle(match, seen)}); "
        "everybody is where they were before",
    )


def _no_show(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    deadline = connect_deadline(match, seen.server)
    if deadline is None or now < deadline or not _looked_after(seen, deadline):
        return None
    missing = [person for person in presences(match, seen) if not person.is_in]
    if not missing:
        return None
    names = " and ".join(person.identity for person in missing)
    message = ENDINGS[EndReason.NO_SHOW].sentence(who=names, seconds=match.spec.timeouts.connect_seconds)
    return _cause(match, EndReason.NO_SHOW, message, subject=frozenset(person.identity for person in missing))


def _gone_too_long(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    """Somebody dropped out and was not back in time: on purpose (Left), or the network took them (NetworkLost)."""
    overdue = {
        who: at for who, at in return_deadlines(match, seen.server).items() if now >= at and _looked_after(seen, at)
    }
    missing = {person.identity: person for person in presences(match, seen) if not person.is_in}
    late = sorted((at, who) for who, at in overdue.items() if who in missing)
    if not late:
        return None
    who = late[0][1]
    timeouts = match.spec.timeouts
    left = said_goodbye(missing[who].detail)
    reason = EndReason.LEFT if left else EndReason.NETWORK_LOST
    seconds = timeouts.leave_seconds if left else timeouts.reconnect_seconds
    return _cause(match, reason, ENDINGS[reason].sentence(who=who, seconds=seconds), subject=frozenset({who}))


def _max_duration(match: Match, _seen: MatchSeen, now: datetime) -> EndCause | None:
    deadline = duration_deadline(match)
    if deadline is None or now < deadline:
        return None
    message = ENDINGS[EndReason.MAX_DURATION].sentence(seconds=match.spec.timeouts.max_duration_seconds)
    return _cause(match, EndReason.MAX_DURATION, message)


def _own_room_deleted(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    if match.status.ready_at is None or isinstance(seen.room, Unknown):
        return None
    room = value_of(seen.room)
    if room is None or room.metadata.deletion_timestamp is not None:
        detail = "its Room was deleted"
    elif room.status.phase in _ROOM_IS_OVER:
        detail = f"its Room is {room.status.phase} ({room.status.reason})"
    else:
        return None
    return _cause(match, EndReason.ROOM_LOST, ENDINGS[EndReason.ROOM_LOST].sentence(detail=detail))


_CAUSES: tuple[Callable[[Match, MatchSeen, datetime], EndCause | None], ...] = (
    _recorded_in_ledger,
    _recorded_in_status,
    _terminated,
    _deleted,
    _users_not_to_be_had,
    _too_late,
    _own_room_deleted,
    _no_show,
    _gone_too_long,
    _max_duration,
)


def connected_identities(people: tuple[Presence, ...]) -> frozenset[str]:
    """Identities of those who are in the room."""
    return frozenset(person.identity for person in people if person.is_in)


def _cause(
    match: Match,
    reason: EndReason,
    message: str,
    *,
    initiator: str = "",
    subject: frozenset[str] = frozenset(),
    code: str = "",
) -> EndCause:
    rollback = ENDINGS[reason].rollback
    undone = rollback is Rollback.ALWAYS or (rollback is Rollback.BEFORE_READY and match.status.ready_at is None)
    return EndCause(reason, code or reason.value, message, initiator, subject or frozenset({initiator} - {""}), undone)


def _read_evidence(text: str) -> tuple[str, frozenset[str]]:
    """Code and subject as `EndCause.evidence` wrote them; nothing where somebody else wrote the cause."""
    try:
        value = json.loads(text)
        return str(value["code"]), frozenset(map(str, value["subject"]))
    except (ValueError, KeyError, TypeError):
        return "", frozenset()


def _failed(code: str, message: str) -> EndCause:
    return EndCause(EndReason.FAILED, code, message, is_rollback=True)


def _looked_after(seen: MatchSeen, deadline: datetime) -> bool:
    """Whether both witnesses were asked after the deadline: facts outrank deadlines."""
    listed = isinstance(seen.people, Present) and seen.people.at >= deadline
    return listed and isinstance(seen.ledger, Present) and seen.ledger.at >= deadline


def _obstacle(match: Match, seen: MatchSeen) -> str:
    if seen.refusal is not None:
        return f"{seen.refusal.identity} was still in match {seen.refusal.holder}"
    if seen.server.trouble:
        return seen.server.trouble
    if match.status.last_error is not None:
        return match.status.last_error.message
    if isinstance(seen.room, Present) and not isinstance(seen.livekit_room, Present):
        return "LiveKit has not made the room yet"
    waiting = next((c.message for c in match.status.conditions if c.type == "Accepted" and c.reason == "UserBusy"), "")
    return waiting or "the operator did not get to it in time"
