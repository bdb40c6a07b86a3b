"""The conditions of a Match: for each aspect whether it holds, the reason in a word, a sentence for people. Pure.

`api.conditions` is the table of types and reasons; `status.match` puts the verdicts into the status.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.api.conditions import NOT_ACCEPTED, ConditionReason, ConditionType, Reason
from controller.api.failures import ErrorType
from controller.api.phases import MatchPhase
from controller.facts.observation import Unknown
from controller.rules.deadlines import windows
from controller.rules.end_cause import EndCause
from controller.status.conditions import Verdict, false, of_last_step, progress, true
from controller.status.match_view import MatchView


def match_conditions(view: MatchView) -> Iterator[Verdict]:
    """One verdict per type, in the order of the table."""
    cause = view.case.cause
    yield _accepted(view, cause)
    yield _room_ready(view, cause)
    yield _tokens_issued(view, cause)
    ready = _ready(view, cause)
    if view.phase is not MatchPhase.ENDED:
        yield ready
    yield _connected(view, cause)
    yield _degraded(view)
    if view.finished and cause is not None:
        yield true(ConditionType.FINISHED, cause.reason, cause.message)
    else:
        yield false(ConditionType.FINISHED, ConditionReason.IN_PROGRESS, "the Match is not over")
    yield from progress(ready, stalled=view.phase is MatchPhase.FAILED, over=view.finished)


def not_claimed(view: MatchView) -> tuple[Reason, str]:
    """Why the users are not claimed yet: the reason and a sentence."""
    refusal = view.case.seen.refusal
    if refusal is not None:
        holder = f"{refusal.identity} is still in match {refusal.holder}, which is ending"
        return refusal.code, f"{holder}; this Match claims both users when it has ended"
    if view.error is not None:
        return ConditionReason.NOT_CLAIMED, view.error.message
    return ConditionReason.NOT_CLAIMED, "the users are not claimed yet"


def _accepted(view: MatchView, cause: EndCause | None) -> Verdict:
    if cause is not None and cause.code in NOT_ACCEPTED:
        return false(ConditionType.ACCEPTED, cause.code, cause.message)
    if view.claimed:
        names = " and ".join(view.case.match.spec.identities)
        return true(ConditionType.ACCEPTED, ConditionReason.USERS_CLAIMED, f"this Match holds {names}")
    return false(ConditionType.ACCEPTED, *not_claimed(view))


def _room_ready(view: MatchView, cause: EndCause | None) -> Verdict:
    room = view.room
    if cause is not None:
        told = "the Match is ending; its room is closed" if room is not None else "no room was made"
        return false(ConditionType.ROOM_READY, cause.code, told)
    if room is None:
        no_place = view.error.message if view.error is not None and view.error.type is ErrorType.ROOM else ""
        return false(ConditionType.ROOM_READY, ConditionReason.NO_ROOM, no_place or "the Match has no Room yet")
    if view.case.livekit_room is not None:
        told = f"room {room.livekit_name} is on {room.server}"
        return true(ConditionType.ROOM_READY, ConditionReason.ROOM_CREATED, told)
    why = view.case.seen.server.trouble or f"LiveKit does not have room {room.livekit_name} yet"
    return false(ConditionType.ROOM_READY, ConditionReason.ROOM_MISSING, why)


def _tokens_issued(view: MatchView, cause: EndCause | None) -> Verdict:
    delivery = view.case.match.spec.tokens.delivery
    if cause is not None:
        told = "the Match is ending; its tokens are deleted" if view.room is not None else "no tokens were issued"
        return false(ConditionType.TOKENS_ISSUED, cause.code, told)
    if not (delivery.to_secret or delivery.to_redis):
        told = "tokens.delivery is None: the application makes its own tokens"
        return true(ConditionType.TOKENS_ISSUED, ConditionReason.NOT_WANTED, told)
    seen = view.case.seen
    if seen.tokens_refused:
        return false(ConditionType.TOKENS_ISSUED, ConditionReason.TOKENS_REFUSED, seen.tokens_refused)
    if view.tokens is None:
        was_there = isinstance(seen.tokens, Unknown) and view.ready_at is not None
        told = seen.tokens.why if was_there and isinstance(seen.tokens, Unknown) else "no tokens are issued yet"
        return false(ConditionType.TOKENS_ISSUED, ConditionReason.NOT_ISSUED, told)
    return true(ConditionType.TOKENS_ISSUED, ConditionReason.TOKENS_DELIVERED, f"the tokens are {_where(view)}")


def _where(view: MatchView) -> str:
    match = view.case.match
    places = []
    if match.spec.tokens.delivery.to_secret and view.tokens is not None:
        places.append(f"in secret {view.tokens.secret_name}")
    if match.spec.tokens.delivery.to_redis:
        places.append(f"in Redis under tokens:{match.metadata.uid}")
    return " and ".join(places)


def _ready(view: MatchView, cause: EndCause | None) -> Verdict:
    if cause is not None:
        return false(ConditionType.READY, cause.code, cause.message)
    if view.ready and view.room is not None:
        told = f"room {view.room.name} is on {view.room.server}, and the tokens are as the spec asks"
        return true(ConditionType.READY, ConditionReason.PROVISIONED, told)
    if view.ready_at is None:
        return false(ConditionType.READY, ConditionReason.PROVISIONING, "room and tokens are being made")
    if view.case.livekit_room is None:
        return false(ConditionType.READY, ConditionReason.ROOM_MISSING, "the room was lost; it is being restored")
    why = f" ({view.case.seen.tokens_refused})" if view.case.seen.tokens_refused else ""
    return false(
        ConditionType.READY, ConditionReason.TOKENS_DUE, f"the room is there; its tokens are being issued again{why}"
    )


def _connected(view: MatchView, cause: EndCause | None) -> Verdict:
    if cause is not None:
        told = "the call is over" if view.connected_at is not None else "the two have not met"
        return false(ConditionType.CONNECTED, cause.code, told)
    missing = " and ".join(person.identity for person in view.case.missing)
    if view.ready_at is not None and not missing:
        names = " and ".join(view.case.match.spec.identities)
        return true(ConditionType.CONNECTED, ConditionReason.BOTH_CONNECTED, f"{names} are in the room")
    if view.connected_at is not None:
        return false(ConditionType.CONNECTED, view.interruption, _dropped_out(view, missing))
    waiting = f"waiting for {missing}" if missing else "both are in the room, which is not ready yet"
    return false(ConditionType.CONNECTED, ConditionReason.WAITING_FOR_PEOPLE, waiting)


def _dropped_out(view: MatchView, missing: str) -> str:
    """Who is missing, by which witness, and until when the call waits for them."""
    case = view.case
    evidence = "; ".join(f"{p.evidence}: {p.detail or 'left'}" for p in case.missing)
    timeouts = case.match.spec.timeouts
    deadlines = windows(timeouts, view.participants, view.noticed, case.ledger, case.seen.server)
    until = min(deadlines.values(), default=None)
    wait = f"; the match ends at {until:%H:%M:%S} UTC unless {missing} is back" if until is not None else ""
    return f"{missing} dropped out ({evidence}){wait}"


def _degraded(view: MatchView) -> Verdict:
    seen = view.case.seen
    trouble = seen.server.trouble or (seen.ledger.why if isinstance(seen.ledger, Unknown) else "")
    if trouble:
        told = f"{trouble}; nothing is decided until it answers"
        return true(ConditionType.DEGRADED, ConditionReason.BACKEND_UNREACHABLE, told)
    if view.case.match.status.started_at is not None and (refusal := seen.refusal) is not None:
        told = (
            f"the record of {refusal.identity} in Redis names match {refusal.holder} instead of this one; the call "
            "goes on, and its records are written again as soon as that match is over"
        )
        return true(ConditionType.DEGRADED, ConditionReason.RECORDS_DIFFER, told)
    told = "Kubernetes, LiveKit and Redis answer"
    failing = of_last_step(view.error, view.case.match.status.last_error)
    return failing or false(ConditionType.DEGRADED, ConditionReason.ALL_BACKENDS_ANSWER, told)
