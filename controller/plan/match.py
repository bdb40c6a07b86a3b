"""The plan of a Match: an ordered list of small steps; each has nothing to say, or names the next thing to do. Pure.

The same case gives the same plan, whatever woke the loop up, also after a crash in the middle. The Match writes the
states of its users, its Room, its tokens and its own status; the LiveKit room belongs to the Room's key (`plan.room`).
`rules.endings` decides why a Match ends, `rules.outcomes` where its users go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from controller.api.match import ParticipantState, ParticipantStatus
from controller.api.names import FINALIZER, MATCH, PAUSED, user_label
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.errors import Backend
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
    RestoreUsers,
    RevokeTokens,
    Settle,
    Target,
    TellUsersOfDrain,
    UpdateRoom,
)
from controller.plan.step import Plan, earliest
from controller.rules.deadlines import windows
from controller.rules.drain import last_wait_for_telling, untold
from controller.rules.end_cause import EndCause
from controller.rules.match_case import MatchCase
from controller.rules.paused import pause_of_match
from controller.rules.readiness import (
    is_published,
    renewal_at,
    tokens_are_there,
    wants_tokens,
    younger_tokens_are_wanted,
)
from controller.rules.rejoin import room_to_rejoin

# How soon to look again where a deadline has passed and a witness could not be asked.
_ASK_AGAIN = timedelta(seconds=1)
_RESTORE_RETRY = timedelta(seconds=2)
# How soon to claim again users whom another Match still holds: the longer it has taken, the later.
_HELD_RETRY, _HELD_RETRY_AT_MOST, _HELD_SHARE = timedelta(milliseconds=100), timedelta(seconds=2), 10
_PUBLISHED = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})
_PHASE_OF_STATE = {
    UserState.CONNECTING: MatchPhase.CONNECTING,
    UserState.IN_CALL: MatchPhase.ACTIVE,
    UserState.DISCONNECTING: MatchPhase.TERMINATING,
}


def plan_match(case: MatchCase) -> Plan:
    """The next step of this Match."""
    for step in _STEPS:
        plan = step(case)
        if plan is not None:
            return plan.by(case.gives_up_at)
    raise AssertionError("the last step always has an answer")


def _paused(case: MatchCase) -> Plan | None:
    if pause_of_match(case.match) is None:
        return None
    return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)


def _finished(case: MatchCase) -> Plan | None:
    match = case.match
    # The status became terminal only when nothing was left, so nothing is read again, even if a backend is away by now.
    if not case.was_over:
        return None
    if leftover := (*_close_room(case), *_revoke_tokens(case)):
        return Plan(leftover, waits_for="what came up late, or what an edited status hides, to be closed")
    if match.metadata.deletion_timestamp is not None:
        return Plan(_release_finalizer(case))
    ended = match.status.ended_at or case.now
    expiry = ended + timedelta(seconds=match.spec.ttl_seconds_after_finished)
    if case.now >= expiry or case.seen.is_over_limit:
        return Plan((DeleteObject(_target(case)),))
    return Plan(deadline=expiry, waits_for="ttlSecondsAfterFinished")


def _secured(case: MatchCase) -> Plan | None:
    """Nothing is claimed before the finalizer is there: otherwise a deletion could leave users behind."""
    if FINALIZER in case.match.metadata.finalizers:
        return None
    if case.match.metadata.deletion_timestamp is None:
        labels = tuple(user_label(identity) for identity in case.match.spec.identities)
        return Plan((AddFinalizer(_target(case), labels),))
    # Another client took our finalizer off. As long as the object is there, what was claimed is still released.
    return None if case.is_claimed else Plan(waits_for="the end of the deletion")


def _readable(case: MatchCase) -> Plan | None:
    """Without the ledger nothing can be decided: neither which users are claimed nor whether the end is decided."""
    ledger = case.seen.ledger
    if not isinstance(ledger, Unknown):
        return None
    if Backend.REDIS in case.given_up:
        return _without_redis(case)
    return Plan(waits_for=ledger.why, blocked_by=Backend.REDIS)


def _without_redis(case: MatchCase) -> Plan:
    """Finish a deletion as far as Kubernetes goes: the Room first, which closes its room on LiveKit.

    The Secret with the tokens goes with the Match, and those in Redis have a TTL.
    """
    if closes := _close_room(case):
        return Plan(closes, waits_for="the room to be closed")
    if not isinstance(case.seen.room, Absent):
        return _until_room_is_closed(case)
    return Plan(_release_finalizer(case, without=(Backend.REDIS,)))


def _ending(case: MatchCase) -> Plan | None:
    match, cause = case.match, case.cause
    if cause is None:
        return None
    if case.ledger is None or not case.ledger.settled:
        # First and alone: once the cause is stored, closing the room cannot look like a cause of its own.
        return Plan((_release_users(case, cause),), waits_for="the users to be settled")
    if actions := (*_close_room(case), *_revoke_tokens(case)):
        return Plan(actions, waits_for="the room to be closed")
    if not case.is_over:
        return _until_room_is_closed(case)
    if match.metadata.deletion_timestamp is not None:
        return Plan(_release_finalizer(case))
    return Plan(waits_for="nothing: it is over")


def _until_room_is_closed(case: MatchCase) -> Plan:
    blocked_by = Backend.KUBERNETES if isinstance(case.seen.room, Unknown) else None
    return Plan(waits_for="the room to be closed", blocked_by=blocked_by)


def _close_room(case: MatchCase) -> tuple[AnyAction, ...]:
    room = value_of(case.seen.room)
    metadata = room.metadata if room is not None else case.seen.unreadable_room
    if metadata is None or metadata.deletion_timestamp is not None:
        return ()
    return (DeleteRoom(_target(case), metadata.name, metadata.uid),)


def _revoke_tokens(case: MatchCase) -> tuple[AnyAction, ...]:
    if isinstance(case.seen.tokens, Absent) or not wants_tokens(case.match):
        return ()
    delivery = case.match.spec.tokens.delivery
    return (RevokeTokens(_target(case), delivery.to_secret, delivery.to_redis),)


def _release_users(case: MatchCase, cause: EndCause) -> AnyAction:
    """Store the cause, then make the users DISCONNECTING, then settle them. A rollback is one step."""
    target, ledger, releases = _target(case), case.ledger, case.releases
    evidence = cause.evidence(releases)
    if ledger is not None and ledger.claimed and not cause.is_rollback:
        if ledger.end is None or ledger.end.cause.reason == cause.replaces:
            return RecordEnd(
                target, cause.reason, cause.initiator, cause.message, evidence, case.session_id, cause.replaces
            )
        if ledger.phase != MatchPhase.TERMINATING:
            return _advance(case, UserState.DISCONNECTING)
    return Settle(target, releases, cause.reason, cause.initiator, cause.message, evidence, case.session_id)


def _restore(case: MatchCase) -> Plan | None:
    """A Match that has started holds its users: what Redis has lost of that is written again, and never claimed."""
    if case.match.status.started_at is None or (case.is_claimed and not case.seen.audit.unrecorded):
        return None
    refusal = case.seen.refusal
    if refusal is None:
        return Plan((RestoreUsers(_target(case)),))
    if case.is_claimed:
        return None
    return Plan(deadline=case.now + _RESTORE_RETRY, waits_for=f"{refusal.identity} to be released in Redis")


def _claim(case: MatchCase) -> Plan | None:
    if case.is_claimed:
        return None
    deadline, refusal = case.ready_by, case.seen.refusal
    if refusal is not None:
        return Plan(deadline=earliest(deadline, _claim_again_at(case)), waits_for=f"{refusal.identity} to be released")
    made_at = case.match.metadata.creation_timestamp or case.now
    return Plan((Claim(_target(case), case.match.spec, case.session_id, made_at),), deadline)


def _claim_again_at(case: MatchCase) -> datetime:
    """When to try again: at first soon, since the holder is ending, and later at intervals that grow with the wait.

    The holder may be a Match that is gone, so that nothing says when the user is released.
    """
    created = case.match.metadata.creation_timestamp or case.now
    return case.now + min(max(_HELD_RETRY, (case.now - created) / _HELD_SHARE), _HELD_RETRY_AT_MOST)


def _room(case: MatchCase) -> Plan | None:
    if not isinstance(case.seen.room, Absent):
        return None
    return Plan((CreateRoom(_target(case), case.match.spec),), case.ready_by, waits_for="the Room")


def _room_metadata(case: MatchCase) -> Plan | None:
    """The Match's metadata may change during the call; all else of its Room is immutable."""
    room, wanted = value_of(case.seen.room), case.match.spec.room.metadata
    if room is None or room.metadata.deletion_timestamp is not None or room.spec.metadata == wanted:
        return None
    metadata = tuple(sorted(wanted.items()))
    return Plan((UpdateRoom(_target(case), room.metadata.name, room.metadata.uid, metadata),), case.ready_by)


def _issue_tokens(case: MatchCase) -> Plan | None:
    """Deliver tokens and the room's address while the Room's key makes the room on LiveKit."""
    seen = case.seen
    if value_of(seen.room) is None:
        return Plan(deadline=case.ready_by, waits_for="the Room to be readable", blocked_by=Backend.KUBERNETES)
    if not seen.server.name:
        return Plan(deadline=case.ready_by, waits_for="a LiveKit server that can take the room")
    actions: list[AnyAction] = []
    if not tokens_are_there(case) or younger_tokens_are_wanted(case):
        replaces = case.tokens is not None
        actions.append(IssueTokens(_target(case), case.match.spec, seen.livekit_name, seen.server.url, replaces))
    if not is_published(case):
        actions.append(_publish(case))
    return Plan(tuple(actions), case.ready_by) if actions else None


def _publish(case: MatchCase) -> Advance:
    """Give the users the room's address. If it changes later (the server has another URL), the phase stays."""
    advance, before = _advance(case, UserState.CONNECTING), case.ledger.phase if case.ledger is not None else ""
    return replace(advance, phase=MatchPhase(before)) if before in _PUBLISHED else advance


def _until_ready(case: MatchCase) -> Plan | None:
    if case.match.status.ready_at is not None or case.livekit_room is not None:
        return None
    return Plan(deadline=case.ready_by, waits_for="LiveKit to have the room")


def _tell_of_drain(case: MatchCase) -> Plan | None:
    """The users learn that the server of their call is drained, or that it is no longer."""
    if not untold(case):
        return None
    return Plan((TellUsersOfDrain(_target(case), case.match.spec.identities, case.seen.server.drain),))


def _connected(case: MatchCase) -> Plan | None:
    """After both met, the ledger follows who is in the room: for the users' states, and for how long one is alone."""
    ledger, people = case.ledger, case.presences
    if ledger is None:
        return None
    restored = room_to_rejoin(case)
    inside = len(people) - len(case.missing)
    is_together, is_alone = inside == len(people), inside == 1
    if not is_together and case.match.status.connected_at is None:
        if not restored:
            return None
        return Plan((replace(_advance(case, UserState.CONNECTING), missing=_missing(case), restored=restored),))
    phase = MatchPhase.ACTIVE if is_together else MatchPhase.RECONNECTING
    if ledger.phase == phase and (ledger.alone.since_ms is not None) == is_alone and not restored:
        return None
    advance = replace(
        _advance(case, UserState.IN_CALL), phase=phase, alone=is_alone, missing=_missing(case), restored=restored
    )
    return Plan((advance,))


def _missing(case: MatchCase) -> tuple[tuple[str, int | None], ...]:
    """Who dropped out, and until when they may come back, counted as the status will count it."""
    gone = (
        ParticipantStatus(
            identity=person.identity,
            state=ParticipantState.RECONNECTING,
            since=person.since or case.now,
            detail=person.detail,
        )
        for person in case.missing
        if person.state is ParticipantState.LEFT
    )
    until = windows(case.match.spec.timeouts, gone, case.now, case.ledger, case.seen.server)
    return tuple(
        (person.identity, milliseconds(until[person.identity]) if person.identity in until else None)
        for person in case.missing
    )


def _wait(case: MatchCase) -> Plan | None:
    moments = (
        case.connect_deadline,
        case.duration_deadline,
        renewal_at(case),
        case.alone_deadline,
        last_wait_for_telling(case),
        *case.return_deadlines.values(),
    )
    deadline = earliest(*(_due_at(moment, case) for moment in moments if moment is not None))
    return Plan(deadline=deadline, waits_for="people")


def _due_at(deadline: datetime, case: MatchCase) -> datetime:
    """When to reconcile because of a deadline: at it; at once if it has passed since the witnesses were asked."""
    if deadline > case.now:
        return deadline
    witnesses = (case.seen.people, case.seen.ledger)
    was_early = all(isinstance(one, Present) for one in witnesses) and min(one.at for one in witnesses) < deadline
    # Ghosts are being probed: the answer wakes the Match.
    return case.now if was_early and not case.seen.ghosts else case.now + _ASK_AGAIN


_STEPS: tuple[Callable[[MatchCase], Plan | None], ...] = (
    _paused,
    _finished,
    _secured,
    _readable,
    _ending,
    _restore,
    _claim,
    _room,
    _room_metadata,
    _issue_tokens,
    _until_ready,
    _tell_of_drain,
    _connected,
    _wait,
)


def _advance(case: MatchCase, state: UserState) -> Advance:
    livekit_name = case.seen.livekit_name
    return Advance(
        _target(case),
        case.match.spec.identities,
        state,
        _PHASE_OF_STATE[state],
        livekit_name,
        case.seen.server.url if livekit_name else "",
        case.session_id,
    )


def _release_finalizer(case: MatchCase, without: tuple[Backend, ...] = ()) -> tuple[AnyAction, ...]:
    return (ReleaseFinalizer(_target(case), without),) if FINALIZER in case.match.metadata.finalizers else ()


def _target(case: MatchCase) -> Target:
    metadata = case.match.metadata
    return Target(MATCH, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
