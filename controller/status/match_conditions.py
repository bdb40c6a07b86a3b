"""The conditions of a Match: for each aspect whether it holds, the reason in a word, a sentence for people. Pure.

What is not known is Unknown, with the sentence why; once the Match is over, each condition says what was. No sentence
changes because time passes. `api.conditions` is the table of types and reasons; `status.match` puts the verdicts into
the status.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.api.conditions import NOT_ACCEPTED, ConditionReason, ConditionType, Reason
from controller.api.failures import ErrorType
from controller.api.match import RoomReference
from controller.api.phases import MatchPhase
from controller.facts.observation import Absent, Unknown
from controller.rules.deadlines import windows
from controller.rules.end_cause import EndCause
from controller.rules.readiness import tokens_are_there
from controller.status.conditions import Verdict, false, not_known, of_last_step, progress, true
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
    type_, ledger = ConditionType.ACCEPTED, view.case.seen.ledger
    names = _both(view)
    if cause is not None and cause.code in NOT_ACCEPTED:
        return false(type_, cause.code, cause.message)
    if view.finished or view.settled:
        if view.held:
            return true(type_, ConditionReason.USERS_RELEASED, f"this Match held {names}, and has released both")
        return false(type_, ConditionReason.NOT_CLAIMED, "no user was claimed before the Match was over")
    if isinstance(ledger, Unknown) and (cause is not None or not view.held):
        told = f"{ledger.why}; it is not known whether this Match holds {names}"
        return not_known(type_, ConditionReason.NOT_KNOWN, told)
    if view.held:
        return true(type_, ConditionReason.USERS_CLAIMED, f"this Match holds {names}")
    return false(type_, *not_claimed(view))


def _room_ready(view: MatchView, cause: EndCause | None) -> Verdict:
    type_, room = ConditionType.ROOM_READY, view.room
    if cause is not None:
        return false(type_, cause.code, _end_of_room(view, room))
    if view.unseen_room:
        return not_known(type_, ConditionReason.NOT_KNOWN, view.unseen_room)
    if room is None:
        no_place = view.error.message if view.error is not None and view.error.type is ErrorType.ROOM else ""
        return false(type_, ConditionReason.NO_ROOM, no_place or "the Match has no Room yet")
    if view.case.livekit_room is not None:
        told = f"LiveKit room {room.livekit_name} is on {room.server}"
        return true(type_, ConditionReason.ROOM_CREATED, told)
    why = f"LiveKit does not have room {room.livekit_name} yet"
    if view.ready_at is not None:
        why = f"{room.server} has lost LiveKit room {room.livekit_name}; it is being restored"
    return false(type_, ConditionReason.ROOM_MISSING, why)


def _end_of_room(view: MatchView, room: RoomReference | None) -> str:
    if room is None:
        return "no room was made"
    name = f"LiveKit room {room.livekit_name}"
    if not view.finished:
        return f"the Match is ending; {name} is closed before it is over"
    if room.sid is None:
        return f"it was over before LiveKit was seen to have room {room.livekit_name}"
    return f"{name} was on {room.server}, and is closed"


def _tokens_issued(view: MatchView, cause: EndCause | None) -> Verdict:
    type_, delivery, seen = ConditionType.TOKENS_ISSUED, view.case.match.spec.tokens.delivery, view.case.seen
    is_wanted = delivery.to_secret or delivery.to_redis
    if cause is not None:
        return false(type_, cause.code, _end_of_tokens(view, is_wanted=is_wanted))
    if not is_wanted:
        told = "tokens.delivery is None: the application makes its own tokens"
        return true(type_, ConditionReason.NOT_WANTED, told)
    if seen.tokens_refused:
        return false(type_, ConditionReason.TOKENS_REFUSED, seen.tokens_refused)
    if isinstance(seen.tokens, Unknown):
        return not_known(type_, ConditionReason.NOT_KNOWN, seen.tokens.why)
    if view.tokens is None:
        return false(type_, ConditionReason.NOT_ISSUED, "no tokens are issued yet")
    return true(type_, ConditionReason.TOKENS_DELIVERED, f"the tokens are {_where(view)}")


def _end_of_tokens(view: MatchView, *, is_wanted: bool) -> str:
    if not is_wanted:
        return "tokens.delivery is None: the application made its own tokens"
    if view.room is None:
        return "no tokens were issued"
    if not view.finished and not isinstance(view.case.seen.tokens, Absent):
        return "the Match is ending; its tokens are deleted before it is over"
    return "its tokens were issued, and are deleted" if view.ready_at is not None else "none of its tokens are left"


def _where(view: MatchView) -> str:
    match = view.case.match
    places = []
    if match.spec.tokens.delivery.to_secret and view.tokens is not None:
        places.append(f"in secret {view.tokens.secret_name}")
    if match.spec.tokens.delivery.to_redis:
        places.append(f"in Redis under tokens:{match.metadata.uid}")
    return " and ".join(places)


def _ready(view: MatchView, cause: EndCause | None) -> Verdict:
    type_, seen = ConditionType.READY, view.case.seen
    if cause is not None:
        return false(type_, cause.code, cause.message)
    if not (view.held or isinstance(seen.ledger, Unknown)):
        return false(type_, ConditionReason.NOT_CLAIMED, not_claimed(view)[1])
    if unseen := seen.ledger.why if isinstance(seen.ledger, Unknown) else view.unseen_room:
        return not_known(type_, ConditionReason.NOT_KNOWN, unseen)
    if view.ready and view.room is not None:
        told = f"Room {view.room.name} is on {view.room.server}, and the tokens are as the spec asks"
        return true(type_, ConditionReason.PROVISIONED, told)
    if view.ready_at is not None:
        return _no_longer_ready(view)
    told = f"room and tokens are not there yet: {view.error.message}" if view.error is not None else ""
    return false(type_, ConditionReason.PROVISIONING, told or "room and tokens are being made")


def _no_longer_ready(view: MatchView) -> Verdict:
    """A Match that was Ready lacks something now."""
    case, type_ = view.case, ConditionType.READY
    if case.livekit_room is None:
        return false(type_, ConditionReason.ROOM_MISSING, "the room was lost; it is being restored")
    if tokens_are_there(case):
        told = "the room is there; its address is being written into the users' records again"
        return false(type_, ConditionReason.NOT_PUBLISHED, told)
    why = f" ({case.seen.tokens_refused})" if case.seen.tokens_refused else ""
    return false(type_, ConditionReason.TOKENS_DUE, f"the room is there; its tokens are being issued again{why}")


def _connected(view: MatchView, cause: EndCause | None) -> Verdict:
    type_ = ConditionType.CONNECTED
    if cause is not None:
        return false(type_, cause.code, _end_of_call(view))
    missing = " and ".join(person.identity for person in view.case.missing)
    trouble = (view.case.seen.server.trouble or view.unlisted) if view.room is not None else ""
    if trouble:
        last = f"{missing} not in the room" if missing else "both in the room"
        return not_known(type_, ConditionReason.NOT_KNOWN, f"{trouble}; when it was seen last, {last}")
    if view.ready_at is not None and not missing:
        return true(type_, ConditionReason.BOTH_CONNECTED, f"{_both(view)} are in the room")
    if view.connected_at is not None:
        return false(type_, view.interruption, _dropped_out(view, missing))
    waiting = f"waiting for {missing}" if missing else "both are in the room, which is not ready yet"
    return false(type_, ConditionReason.WAITING_FOR_PEOPLE, waiting)


def _end_of_call(view: MatchView) -> str:
    if view.connected_at is None:
        return f"{_both(view)} have not met"
    began = f"{_both(view)} met at {view.connected_at:%H:%M:%S} UTC"
    return f"{began}; the call is over" if view.finished else f"{began}; the call is ending"


def _dropped_out(view: MatchView, missing: str) -> str:
    """Who is missing, by which witness, and until when the call waits for them."""
    case = view.case
    evidence = "; ".join(f"{p.evidence}: {p.detail or 'left'}" for p in case.missing)
    timeouts = case.match.spec.timeouts
    deadlines = windows(timeouts, view.participants, view.noticed, case.ledger, case.seen.server)
    until = min(deadlines.values(), default=None)
    wait = f"; the match ends at {until:%H:%M:%S} UTC unless {missing} is back" if until is not None else ""
    if isinstance(case.seen.ledger, Unknown):
        wait = "; no wait for them ends before Redis answers"
    return f"{missing} dropped out ({evidence}){wait}"


def _degraded(view: MatchView) -> Verdict:
    type_, seen, before = ConditionType.DEGRADED, view.case.seen, view.case.match.status
    failing = of_last_step(view.error, before.last_error, before.conditions)
    if view.finished:
        told = "the Match is over, and needs no backend any longer"
        return failing or false(type_, ConditionReason.NO_BACKEND_NEEDED, told)
    unread = [one.why for one in (seen.ledger, seen.room) if isinstance(one, Unknown)]
    troubles = dict.fromkeys((seen.server.trouble, *unread))
    if trouble := "; ".join(filter(None, troubles)):
        waits = "nothing is decided until it answers" if view.case.cause is None else "the end waits for its answer"
        told = f"{trouble}; {waits}"
        return true(type_, ConditionReason.BACKEND_UNREACHABLE, told)
    if before.started_at is not None and (refusal := seen.refusal) is not None:
        told = (
            f"the record of {refusal.identity} in Redis names match {refusal.holder} instead of this one; the call "
            "goes on, and its records are written again as soon as that match is over"
        )
        return true(type_, ConditionReason.RECORDS_DIFFER, told)
    if failing is None and view.unlisted:
        return not_known(type_, ConditionReason.NOT_KNOWN, view.unlisted)
    told = "Kubernetes, LiveKit and Redis answer"
    return failing or false(type_, ConditionReason.ALL_BACKENDS_ANSWER, told)


def _both(view: MatchView) -> str:
    return " and ".join(view.case.match.spec.identities)
