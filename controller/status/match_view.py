"""Judgements about a Match that several fields of its status share, each made once. Pure.

Neighbours: `status.match` and `status.match_conditions` put them into fields; where the planner makes the same
judgement, it is the planner's function that is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from controller.api.endings import EndReason
from controller.api.failures import LastError
from controller.api.match import (
    EndStatus,
    Evidence,
    Match,
    Outcome,
    OutcomeState,
    ParticipantState,
    ParticipantStatus,
    QueuePlace,
    RoomReference,
    TokensStatus,
)
from controller.api.names import token_secret_name
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.facts.ledger import Ledger
from controller.facts.match import MatchSeen
from controller.facts.observation import Unknown, value_of
from controller.facts.time import from_milliseconds
from controller.rules.deadlines import noticed_at, said_goodbye
from controller.rules.end_cause import EndCause
from controller.rules.endings import cause_of_end
from controller.rules.match import is_over
from controller.rules.presence import Presence, presences
from controller.rules.readiness import is_ready


@dataclass(frozen=True)
class MatchView:
    """Judgements that several fields share, each made once."""

    match: Match
    seen: MatchSeen
    now: datetime
    error: LastError | None

    @cached_property
    def ledger(self) -> Ledger | None:
        return value_of(self.seen.ledger)

    @cached_property
    def claimed(self) -> bool:
        if self.was_over:
            return self.match.status.started_at is not None
        return self.ledger is not None and self.ledger.claimed

    @cached_property
    def was_over(self) -> bool:
        """Whether the status said so before: then nothing else is read any more."""
        before = self.match.status.phase
        return before is not None and MATCH_PHASES[before].terminal

    @cached_property
    def cause(self) -> EndCause | None:
        return cause_of_end(self.match, self.seen, self.now)

    @cached_property
    def people(self) -> tuple[Presence, ...]:
        return presences(self.match, self.seen)

    @cached_property
    def finished(self) -> bool:
        return self.was_over or (self.cause is not None and is_over(self.match, self.seen))

    @cached_property
    def ready(self) -> bool:
        return self.cause is None and is_ready(self.match, self.seen, self.now)

    @cached_property
    def ready_at(self) -> datetime | None:
        return self.match.status.ready_at or (self.now if self.ready else None)

    @cached_property
    def all_in(self) -> bool:
        return all(person.is_in for person in self.people)

    @cached_property
    def connected_at(self) -> datetime | None:
        before = self.match.status.connected_at
        if before is not None or self.cause is not None or self.ready_at is None or not self.all_in:
            return before
        return self.now

    @cached_property
    def ended_at(self) -> datetime | None:
        return self.match.status.ended_at or (self.now if self.finished else None)

    @cached_property
    def phase(self) -> MatchPhase:
        if self.finished:
            failed = self.cause is not None and self.cause.reason is EndReason.FAILED
            return MatchPhase.FAILED if failed else MatchPhase.ENDED
        if self.cause is not None:
            return MatchPhase.TERMINATING
        if isinstance(self.seen.ledger, Unknown) and self.match.status.phase is not None:
            return self.match.status.phase
        if self.ready_at is None:
            was_claimed = self.claimed or self.match.status.started_at is not None
            return MatchPhase.CREATING if was_claimed else MatchPhase.PENDING
        if self.connected_at is None:
            return MatchPhase.CONNECTING
        return MatchPhase.ACTIVE if self.all_in else MatchPhase.RECONNECTING

    @cached_property
    def column_reason(self) -> str | None:
        if self.cause is not None:
            return self.cause.code
        if self.phase is MatchPhase.RECONNECTING:
            return "Left" if all(said_goodbye(person.detail) for person in self.missing) else "NetworkLoss"
        return None

    @cached_property
    def noticed(self) -> datetime | None:
        if self.phase is MatchPhase.RECONNECTING and self.match.status.phase is not MatchPhase.RECONNECTING:
            return self.now
        return noticed_at(self.match.status.history)

    @cached_property
    def missing(self) -> tuple[Presence, ...]:
        return tuple(person for person in self.people if not person.is_in)

    @cached_property
    def connected(self) -> str:
        inside = 0 if self.finished else sum(person.is_in for person in self.people)
        return f"{inside}/{len(self.people)}"

    @cached_property
    def room(self) -> RoomReference | None:
        room = value_of(self.seen.room)
        if room is None:
            return self.match.status.room
        livekit = value_of(self.seen.livekit_room)
        before = self.match.status.room
        return RoomReference(
            name=room.metadata.name,
            livekit_name=self.seen.livekit_name,
            sid=livekit.sid if livekit is not None else before.sid if before is not None else None,
            server=self.seen.server.name,
            url=self.seen.server.url,
        )

    @cached_property
    def tokens(self) -> TokensStatus | None:
        tokens = value_of(self.seen.tokens)
        if tokens is None or self.cause is not None:
            return None
        to_secret = self.match.spec.tokens.delivery.to_secret
        return TokensStatus(
            secret_name=token_secret_name(self.match.metadata.uid) if to_secret else None,
            expires_at=tokens.expires_at,
        )

    @cached_property
    def participants(self) -> tuple[ParticipantStatus, ...]:
        before = {status.identity: status for status in self.match.status.participants}
        return tuple(self._participant(person, before.get(person.identity)) for person in self.people)

    def _participant(self, person: Presence, before: ParticipantStatus | None) -> ParticipantStatus:
        state = person.state
        detail, at = person.detail, person.since
        if state is ParticipantState.LEFT and self.cause is None and self.connected_at is not None:
            state = ParticipantState.RECONNECTING
        if self.finished and person.is_in:
            # The room is gone, so nobody is in it, whoever has told of it or not.
            state, detail, at = ParticipantState.LEFT, "the call was over", self.now
        unchanged = before is not None and before.state is state
        since = before.since if unchanged and before is not None else at
        connected_at = before.connected_at if before is not None else None
        queued_at_ms = self.ledger.queued_at_ms.get(person.identity) if self.ledger is not None else None
        queued_at = from_milliseconds(queued_at_ms) if queued_at_ms is not None else None
        return ParticipantStatus(
            identity=person.identity,
            state=state,
            since=since or self.match.metadata.creation_timestamp or self.now,
            evidence=before.evidence if self.was_over and before is not None else self._witness(person),
            detail=detail,
            queued_at=queued_at or (before.queued_at if before is not None else None),
            participant_sid=person.participant_sid,
            connected_at=connected_at or (person.since or self.now if person.is_in else None),
        )

    def _witness(self, person: Presence) -> Evidence | None:
        """Who has told of this person: of the end that goes back to them, if it does, else of where they are."""
        if self.cause is None or person.identity not in self.cause.subject:
            return person.evidence
        wish = self.ledger.wish if self.ledger is not None and self.match.spec.termination is None else None
        if wish is not None and wish.user == person.identity:
            return Evidence.SIGNAL if wish.via == "signal" else Evidence.FLAG
        return _WITNESSES.get(self.cause.code, person.evidence)

    @cached_property
    def end(self) -> EndStatus | None:
        before = self.match.status.end
        if before is not None or self.cause is None or self.ledger is None or not self.ledger.settled:
            return before
        return EndStatus(
            reason=self.cause.reason,
            initiator=self.cause.initiator or None,
            message=self.cause.message,
            outcomes=tuple(_outcomes(self.match, self.ledger)),
        )


_WITNESSES = {"HeartbeatsStopped": Evidence.HEARTBEAT, "UserTakenAway": Evidence.USER_STATE}


def _outcomes(match: Match, ledger: Ledger) -> Iterator[Outcome]:
    for identity in match.spec.identities:
        settled = ledger.outcomes.get(identity)
        if settled is None:
            continue
        state = OutcomeState(settled.outcome.capitalize())
        place = None
        if state is OutcomeState.WAITING:
            original = settled.score_ms is not None and settled.score_ms == ledger.queued_at_ms.get(identity)
            place = QueuePlace.ORIGINAL if original else QueuePlace.NOW
        yield Outcome(identity=identity, state=state, place=place, detail=settled.detail or None)
