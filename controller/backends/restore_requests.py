"""What the status of a Match says to Redis: the claim that restores a live one, and the settling of one that is over.

Neighbors: `backends.restores` sends them for all Matches of a pool, `backends.resets` and `act.users` for one.
"""

from __future__ import annotations

from controller.api.match import Match, MatchStatus, OutcomeState, QueuePlace
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.clients.redis.requests import Claimant, ClaimMode, ClaimRequest, SettleRequest
from controller.facts.ledger import Cause, Destination, Release
from controller.facts.time import milliseconds

_STATES = {
    MatchPhase.CREATING: UserState.CONNECTING,
    MatchPhase.CONNECTING: UserState.CONNECTING,
    MatchPhase.ACTIVE: UserState.IN_CALL,
    MatchPhase.RECONNECTING: UserState.IN_CALL,
    MatchPhase.TERMINATING: UserState.DISCONNECTING,
}


def settle_request(match: Match) -> SettleRequest:
    """The settling of a Match that is over, from its status.

    A user whom the status leaves out waits again: where they were before, or at the end of the queue after a call.
    """
    end, uid = match.status.end, match.metadata.uid
    outcomes = {one.identity: one for one in end.outcomes} if end is not None else {}
    releases = []
    for identity in match.spec.identities:
        outcome = outcomes.get(identity)
        if outcome is None:
            had_call = match.status.connected_at is not None
            waits = Release(identity, Destination.WAITING, QueuePlace.NOW)
            releases.append(waits if had_call else Release(identity, Destination.BACK))
        elif outcome.state is OutcomeState.WAITING:
            place = outcome.place or QueuePlace.ORIGINAL
            releases.append(Release(identity, Destination.WAITING, place, outcome.detail or ""))
        else:
            releases.append(Release(identity, Destination.IDLE, QueuePlace.NOW, outcome.detail or ""))
    return SettleRequest(
        uid=uid,
        session_id=match.spec.session_id or uid,
        users=tuple(releases),
        cause=Cause(end.reason, end.initiator or "", end.message or "") if end is not None else Cause(),
        match_name=match.metadata.name,
    )


def restore_request(match: Match) -> ClaimRequest | None:
    """The claim that rebuilds the ledger of a live Match from its status; None if the Match holds no user."""
    status = match.status
    if status.phase is None or status.started_at is None or status.seems_over or status.end:
        return None
    places = known_places(match)
    claimants = tuple(
        Claimant(person.identity, person.livekit_identity, places.get(person.identity))
        for person in match.spec.participants
    )
    phase = _held_phase(status)
    return ClaimRequest(
        uid=match.metadata.uid,
        match_name=match.metadata.name,
        session_id=match.spec.session_id or match.metadata.uid,
        users=claimants,
        mode=ClaimMode.RESTORE,
        state=_STATES[phase],
        phase=phase.value,
        room=(status.room.livekit_name or "") if status.room is not None else "",
        url=(status.room.url or "") if status.room is not None else "",
    )


def known_places(match: Match) -> dict[str, int]:
    """The places in the queue that users had before the Match, as far as its status knows them."""
    people = match.status.participants
    return {person.identity: milliseconds(person.queued_at) for person in people if person.queued_at is not None}


def _held_phase(status: MatchStatus) -> MatchPhase:
    """The phase of a Match that holds its users, as far as the status knows it.

    A Match that has claimed its users is at least Creating. Another client may have written a terminal phase, and
    another version one that this version does not know.
    """
    if status.phase is MatchPhase.PENDING:
        return MatchPhase.CREATING
    if status.phase in _STATES:
        return status.phase
    return MatchPhase.ACTIVE if status.connected_at is not None else MatchPhase.CONNECTING
