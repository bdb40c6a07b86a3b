"""The plan of a Match: an ordered list of small steps, each either not concerned or the next thing to do.

Pure: (Match, what was seen, now) → Plan. The same state gives the same plan whoever woke us, also after a crash in the
middle. The Match writes users' states, its Room, its tokens and its own status; the LiveKit room belongs to the Room's
key (`plan.room`). Why a Match ends is decided in `rules.endings`, where users go in `rules.outcomes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from controller.api.match import Match, ParticipantState, ParticipantStatus
from controller.api.names import FINALIZER, MATCH, PAUSED
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.errors import Backend
from controller.facts.match import MatchSeen
from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.facts.time import milliseconds
from controller.plan.actions import (
    AddFinalizer,
    Advance,
    AnyAction,
    Claim,
    CreateRoom,
    DeleteObject,
    DeleteRoom,
    IssueTokens,
    RecordEnd,
    ReleaseFinalizer,
    RevokeTokens,
    Settle,
    Target,
)
from controller.plan.step import Plan, earliest
from controller.rules.deadlines import (
    connect_deadline,
    duration_deadline,
    ready_deadline,
    return_deadlines,
    solo_deadline,
    windows,
)
from controller.rules.end_cause import EndCause
from controller.rules.endings import cause_of_end, is_claimed
from controller.rules.match import is_over, session_id
from controller.rules.outcomes import outcomes
from controller.rules.presence import presences
from controller.rules.readiness import (
    is_published,
    renewal_at,
    tokens_are_there,
    tokens_are_wanted_anew,
    wants_tokens,
)

# How soon to look again where a deadline has passed and a witness could not be asked.
_ASK_AGAIN = timedelta(seconds=1)
_HELD_RETRY = timedelta(milliseconds=100)
_PHASE_OF_STATE = {
    "CONNECTING": MatchPhase.CONNECTING,
    "IN_CALL": MatchPhase.ACTIVE,
    "DISCONNECTING": MatchPhase.TERMINATING,
}


def plan_match(match: Match, seen: MatchSeen, now: datetime) -> Plan:
    """The next step of this Match."""
    for step in _STEPS:
        plan = step(match, seen, now)
        if plan is not None:
            return plan
    raise AssertionError("the last step always has an answer")


def _paused(match: Match, _seen: MatchSeen, _now: datetime) -> Plan | None:
    if match.metadata.annotations.get(PAUSED) != "true":
        return None
    return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)


def _finished(match: Match, seen: MatchSeen, now: datetime) -> Plan | None:
    phase = match.status.phase
    # The status became terminal only when nothing was left: that need not be read again, whoever is away by now.
    if phase is None or not MATCH_PHASES[phase].terminal:
        return None
    if leftover := _close_room(match, seen):
        return Plan(leftover, waits_for="a Room that came up late to be closed")
    if match.metadata.deletion_timestamp is not None:
        return Plan(_release(match))
    ended = match.status.ended_at or now
    expiry = ended + timedelta(seconds=match.spec.ttl_seconds_after_finished)
    if now >= expiry or seen.is_surplus:
        return Plan((DeleteObject(_target(match)),))
    return Plan(deadline=expiry, waits_for="ttlSecondsAfterFinished")


def _secured(match: Match, seen: MatchSeen, _now: datetime) -> Plan | None:
    """Nothing is claimed before the finalizer is there: otherwise a deletion could leave users behind."""
    if FINALIZER in match.metadata.finalizers:
        return None
    if match.metadata.deletion_timestamp is None:
        return Plan((AddFinalizer(_target(match)),))
    # Somebody took our finalizer off. What was claimed is put in order all the same, as long as the object is there.
    return None if is_claimed(seen) else Plan(waits_for="the end of the deletion")


def _readable(_match: Match, seen: MatchSeen, _now: datetime) -> Plan | None:
    """Without the ledger nothing can be told: not who is claimed, and not whether the end has been decided."""
    if isinstance(seen.ledger, Unknown):
        return Plan(waits_for=seen.ledger.why, blocked_by=Backend.REDIS)
    return None


def _ending(match: Match, seen: MatchSeen, now: datetime) -> Plan | None:
    cause = cause_of_end(match, seen, now)
    if cause is None:
        return None
    ledger = value_of(seen.ledger)
    if ledger is None or not ledger.settled:
        # First and alone: once the cause is durable, closing the room cannot look like a cause of its own.
        return Plan((_let_go(match, seen, cause),), waits_for="the users to be settled")
    actions: list[AnyAction] = [*_close_room(match, seen)]
    if not isinstance(seen.tokens, Absent) and wants_tokens(match):
        delivery = match.spec.tokens.delivery
        actions.append(RevokeTokens(_target(match), delivery.to_secret, delivery.to_redis))
    if actions:
        return Plan(tuple(actions), waits_for="the room to be closed")
    if not is_over(match, seen):
        blocked_by = Backend.KUBERNETES if isinstance(seen.room, Unknown) else None
        return Plan(waits_for="the room to be closed", blocked_by=blocked_by)
    if match.metadata.deletion_timestamp is not None:
        return Plan(_release(match))
    return Plan(waits_for="nothing: it is over")


def _close_room(match: Match, seen: MatchSeen) -> tuple[AnyAction, ...]:
    room = value_of(seen.room)
    if room is None or room.metadata.deletion_timestamp is not None:
        return ()
    return (DeleteRoom(_target(match), room.metadata.name, room.metadata.uid),)


def _let_go(match: Match, seen: MatchSeen, cause: EndCause) -> AnyAction:
    """The cause is recorded, then the users are DISCONNECTING, then they are settled. A rollback is one step."""
    ledger = value_of(seen.ledger)
    target, users = _target(match), outcomes(match, seen, cause)
    evidence = cause.evidence(users)
    if ledger is not None and ledger.claimed and not cause.is_rollback:
        if ledger.end is None or ledger.end.cause.reason == cause.replaces:
            return RecordEnd(
                target,
                cause.reason.value,
                cause.initiator,
                cause.message,
                evidence,
                session_id(match),
                cause.replaces,
            )
        if ledger.phase != MatchPhase.TERMINATING:
            return _advance(match, seen, "DISCONNECTING")
    return Settle(target, users, cause.reason.value, cause.initiator, cause.message, evidence, session_id(match))


def _claim(match: Match, seen: MatchSeen, now: datetime) -> Plan | None:
    if is_claimed(seen):
        return None
    deadline = ready_deadline(match)
    if seen.refusal is not None:
        retry_at = earliest(deadline, now + _HELD_RETRY)
        return Plan(deadline=retry_at, waits_for=f"{seen.refusal.identity} to be let go")
    return Plan((Claim(_target(match), match.spec, session_id(match)),), deadline)


def _room(match: Match, seen: MatchSeen, _now: datetime) -> Plan | None:
    if not isinstance(seen.room, Absent):
        return None
    return Plan(
        (CreateRoom(_target(match), match.spec),),
        ready_deadline(match),
        waits_for="the Room",
    )


def _hand_out(match: Match, seen: MatchSeen, now: datetime) -> Plan | None:
    """Tokens and the room's address reach the users while the Room's key makes the room on LiveKit."""
    room = value_of(seen.room)
    if room is None:
        return Plan(deadline=ready_deadline(match), waits_for="the Room to be readable", blocked_by=Backend.KUBERNETES)
    actions: list[AnyAction] = []
    if not tokens_are_there(match, seen, now) or tokens_are_wanted_anew(match, seen):
        actions.append(IssueTokens(_target(match), match.spec, seen.livekit_name, seen.server.url))
    if not is_published(seen):
        actions.append(_advance(match, seen, "CONNECTING"))
    return Plan(tuple(actions), ready_deadline(match)) if actions else None


def _until_ready(match: Match, seen: MatchSeen, _now: datetime) -> Plan | None:
    if match.status.ready_at is not None or isinstance(seen.livekit_room, Present):
        return None
    return Plan(deadline=ready_deadline(match), waits_for="LiveKit to have the room")


def _connected(match: Match, seen: MatchSeen, now: datetime) -> Plan | None:
    """Once both were in, the ledger follows who is there: for the users' states, and for how long one is alone."""
    ledger = value_of(seen.ledger)
    if ledger is None:
        return None
    inside = sum(person.is_in for person in presences(match, seen))
    is_together, is_alone = inside == len(match.spec.participants), inside == 1
    if not is_together and match.status.connected_at is None:
        return None
    phase = MatchPhase.ACTIVE if is_together else MatchPhase.RECONNECTING
    if ledger.phase == phase and (ledger.solo.since_ms is not None) == is_alone:
        return None
    missing = _missing(match, seen, now)
    return Plan((replace(_advance(match, seen, "IN_CALL"), phase=phase.value, alone=is_alone, missing=missing),))


def _missing(match: Match, seen: MatchSeen, now: datetime) -> tuple[tuple[str, int | None], ...]:
    """Who dropped out, and until when they may be back, counted as the status will count it."""
    missing = [person for person in presences(match, seen) if not person.is_in]
    gone = (
        ParticipantStatus(
            identity=person.identity,
            state=ParticipantState.RECONNECTING,
            since=person.since or now,
            detail=person.detail,
        )
        for person in missing
        if person.state is ParticipantState.LEFT
    )
    until = windows(match.spec.timeouts, gone, now, value_of(seen.ledger), seen.server)
    return tuple(
        (person.identity, milliseconds(until[person.identity]) if person.identity in until else None)
        for person in missing
    )


def _wait(match: Match, seen: MatchSeen, now: datetime) -> Plan | None:
    tokens, ledger = value_of(seen.tokens), value_of(seen.ledger)
    renewal = renewal_at(match, tokens) if tokens is not None else None
    moments = (
        connect_deadline(match, seen.server),
        duration_deadline(match),
        renewal,
        solo_deadline(match, ledger.solo, seen.server) if ledger is not None else None,
        *return_deadlines(match, ledger, seen.server).values(),
    )
    deadline = earliest(*(_look_at(moment, seen, now) for moment in moments if moment is not None))
    return Plan(deadline=deadline, waits_for="people")


def _look_at(moment: datetime, seen: MatchSeen, now: datetime) -> datetime:
    """When to look because of a deadline: at it, or if it has passed since the witnesses were asked, at once."""
    if moment > now:
        return moment
    witnesses = (seen.people, seen.ledger)
    was_early = all(isinstance(seen, Present) for seen in witnesses) and min(seen.at for seen in witnesses) < moment
    return now if was_early else now + _ASK_AGAIN


_STEPS: tuple[Callable[[Match, MatchSeen, datetime], Plan | None], ...] = (
    _paused,
    _finished,
    _secured,
    _readable,
    _ending,
    _claim,
    _room,
    _hand_out,
    _until_ready,
    _connected,
    _wait,
)


def _advance(match: Match, seen: MatchSeen, state: str) -> Advance:
    return Advance(
        _target(match),
        match.spec.identities,
        state,
        _PHASE_OF_STATE[state].value,
        seen.livekit_name,
        seen.server.url if seen.livekit_name else "",
        session_id(match),
    )


def _release(match: Match) -> tuple[AnyAction, ...]:
    return (ReleaseFinalizer(_target(match)),) if FINALIZER in match.metadata.finalizers else ()


def _target(match: Match) -> Target:
    metadata = match.metadata
    return Target(MATCH, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
