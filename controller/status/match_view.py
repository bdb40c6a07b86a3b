"""What several fields of a Match's status share, each worked out once. Pure.

`rules.match_case` has what planner and status share. Neighbors: `status.match` and `status.match_conditions` put all
of it into fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from controller.api.conditions import Interruption
from controller.api.endings import EndCode, EndReason, EndWord
from controller.api.failures import LastError
from controller.api.match import (
    EndStatus,
    Evidence,
    Match,
    OutcomeState,
    OutcomeStatus,
    ParticipantState,
    ParticipantStatus,
    QueuePlace,
    RoomReference,
    TokensStatus,
)
from controller.api.names import token_secret_name
from controller.api.phases import MatchPhase
from controller.facts.ledger import VIA_SIGNAL, Destination, Ledger
from controller.facts.observation import Unknown, value_of
from controller.facts.time import from_milliseconds
from controller.rules.deadlines import noticed_at, said_goodbye
from controller.rules.match_case import MatchCase
from controller.rules.presence import Presence
from controller.rules.rejoin import untold_room
from controller.status.times import whole_milliseconds


def phase_of_match(case: MatchCase) -> MatchPhase:
    """The phase that the status of this case has."""
    return MatchView(case, None).phase


@dataclass(frozen=True)
class MatchView:
    """A case, as the status shows it; `error` is what kept the last step from working."""

    case: MatchCase
    error: LastError | None

    @cached_property
    def now(self) -> datetime:
        """The moment of the case in whole milliseconds, so that it reads back the same."""
        return whole_milliseconds(self.case.now)

    @cached_property
    def was_over(self) -> bool:
        """Whether the status said so before: then nothing else is read any longer."""
        return self.case.was_over

    @cached_property
    def claimed(self) -> bool:
        """Whether the Match holds its users, or held them before it was over."""
        return self.case.match.status.started_at is not None if self.was_over else self.case.is_claimed

    @cached_property
    def held(self) -> bool:
        """Whether the Match has claimed its users at some time: its own status is the truth about that."""
        return self.case.match.status.started_at is not None or self.case.is_claimed

    @cached_property
    def settled(self) -> bool:
        """Whether the ledger says that the users are released."""
        return self.case.ledger is not None and self.case.ledger.settled

    @cached_property
    def unseen_room(self) -> str:
        """Why it is not known whether LiveKit has the room; empty if it is known, or if there is no Room."""
        room, livekit = self.case.seen.room, self.case.seen.livekit_room
        if isinstance(room, Unknown):
            return room.why
        if self.room is None:
            return ""
        return self.case.seen.server.trouble or (livekit.why if isinstance(livekit, Unknown) else "")

    @cached_property
    def unlisted(self) -> str:
        """Why it is not known how the room is on LiveKit, though nothing is known to be wrong with the server: it was
        not listed yet, for example. Empty if that is known, or if something is wrong.
        """
        is_wrong = isinstance(self.case.seen.room, Unknown) or self.case.seen.server.trouble
        return "" if is_wrong else self.unseen_room

    @cached_property
    def finished(self) -> bool:
        """Whether the Match is over."""
        return self.was_over or (self.case.cause is not None and self.case.is_over)

    @cached_property
    def ready(self) -> bool:
        """Whether clients can join now."""
        return self.case.cause is None and self.case.is_ready

    @cached_property
    def ready_at(self) -> datetime | None:
        """When the Match became Ready for the first time."""
        return self.case.match.status.ready_at or (self.now if self.ready else None)

    @cached_property
    def connected_at(self) -> datetime | None:
        """When both were in the room for the first time."""
        before = self.case.match.status.connected_at
        if before is not None or self.case.cause is not None or self.ready_at is None or self.case.missing:
            return before
        return self.now

    @cached_property
    def ended_at(self) -> datetime | None:
        """When the Match was over."""
        return (self.case.match.status.ended_at or self.now) if self.finished else None

    @cached_property
    def phase(self) -> MatchPhase:
        """Where the Match is on its way."""
        case, before = self.case, self.case.match.status.phase
        if self.finished:
            failed = case.cause is not None and case.cause.reason is EndReason.FAILED
            return MatchPhase.FAILED if failed else MatchPhase.ENDED
        if case.cause is not None:
            return MatchPhase.TERMINATING
        if isinstance(case.seen.ledger, Unknown) and before is not None:
            return before
        if self.ready_at is None:
            was_claimed = self.claimed or case.match.status.started_at is not None
            return MatchPhase.CREATING if was_claimed else MatchPhase.PENDING
        if self.connected_at is None:
            return MatchPhase.CONNECTING
        return MatchPhase.RECONNECTING if case.missing else MatchPhase.ACTIVE

    @cached_property
    def interruption(self) -> Interruption:
        """Why a call that goes on is interrupted; only for a case in which a participant is missing."""
        left = all(said_goodbye(person.detail) for person in self.case.missing)
        return Interruption.LEFT if left else Interruption.CONNECTION_LOST

    @cached_property
    def reason(self) -> EndWord | Interruption | None:
        """Why the Match is in this phase, where that is not the usual course: for the column of `kubectl get`."""
        if self.case.cause is not None:
            return self.case.cause.code
        return self.interruption if self.phase is MatchPhase.RECONNECTING else None

    @cached_property
    def noticed(self) -> datetime | None:
        """When the operator last noticed that a participant had dropped out."""
        status = self.case.match.status
        if self.phase is MatchPhase.RECONNECTING and status.phase is not MatchPhase.RECONNECTING:
            return self.now
        return noticed_at(status.history)

    @cached_property
    def connected(self) -> str:
        """How many are in the room, of how many: `2/2`."""
        people = self.case.presences
        inside = 0 if self.finished else len(people) - len(self.case.missing)
        return f"{inside}/{len(people)}"

    @cached_property
    def room(self) -> RoomReference | None:
        """The room of the Match, as it was seen last."""
        room, before = value_of(self.case.seen.room), self.case.match.status.room
        if room is None:
            return before
        # The id of a room that was made again is shown once the users have been told: until then the status says that
        # they have not.
        livekit = self.case.livekit_room if not untold_room(self.case) else None
        return RoomReference(
            name=room.metadata.name,
            livekit_name=self.case.seen.livekit_name,
            sid=livekit.sid if livekit is not None else before.sid if before is not None else None,
            server=self.case.seen.server.name,
            url=self.case.seen.server.url,
        )

    @cached_property
    def tokens(self) -> TokensStatus | None:
        """The tokens that were delivered, as long as the Match goes on."""
        match, tokens = self.case.match, self.case.tokens
        if tokens is None or self.case.cause is not None:
            return None
        return TokensStatus(
            secret_name=token_secret_name(match.metadata.uid) if match.spec.tokens.delivery.to_secret else None,
            expires_at=tokens.expires_at,
            api_key=tokens.api_key or None,
            secret_digest=tokens.secret_digest or None,
        )

    @cached_property
    def participants(self) -> tuple[ParticipantStatus, ...]:
        """What is known of each participant, in the order of the spec."""
        before = {status.identity: status for status in self.case.match.status.participants}
        return tuple(self._participant(person, before.get(person.identity)) for person in self.case.presences)

    def _participant(self, person: Presence, before: ParticipantStatus | None) -> ParticipantStatus:
        state, detail, at, ledger = person.state, person.detail, person.since, self.case.ledger
        if state is ParticipantState.LEFT and self.case.cause is None and self.connected_at is not None:
            state = ParticipantState.RECONNECTING
        if self.finished and person.is_in:
            # The room is gone, so the participant is no longer in it, even if no witness has said so.
            state, detail, at = ParticipantState.LEFT, "the call was over", self.now
        unchanged = before is not None and before.state is state
        since = before.since if unchanged and before is not None else at
        connected_at = before.connected_at if before is not None else None
        queued_at_ms = ledger.queued_at_ms.get(person.identity) if ledger is not None else None
        queued_at = from_milliseconds(queued_at_ms) if queued_at_ms is not None else None
        return ParticipantStatus(
            identity=person.identity,
            state=state,
            since=since or self.case.match.metadata.creation_timestamp or self.now,
            evidence=before.evidence if self.was_over and before is not None else self._witness(person),
            detail=detail,
            queued_at=queued_at or (before.queued_at if before is not None else None),
            participant_sid=person.participant_sid,
            connected_at=connected_at or (person.since or self.now if person.is_in else None),
        )

    def _witness(self, person: Presence) -> Evidence | None:
        """The witness of the end for a user who caused it, else the witness of where the participant is."""
        case = self.case
        if case.cause is None or person.identity not in case.cause.subject:
            return person.evidence
        wish = case.ledger.wish if case.ledger is not None and case.match.spec.termination is None else None
        if wish is not None and wish.user == person.identity:
            return Evidence.SIGNAL if wish.via == VIA_SIGNAL else Evidence.FLAG
        return _WITNESSES.get(case.cause.code, person.evidence)

    @cached_property
    def end(self) -> EndStatus | None:
        """How the Match ended, once the users are settled. It stays as it was written."""
        case, before = self.case, self.case.match.status.end
        settled = case.ledger if case.ledger is not None and case.ledger.settled else None
        if before is not None or case.cause is None or not (settled or self.was_over):
            return before
        return EndStatus(
            reason=case.cause.reason,
            initiator=case.cause.initiator or None,
            message=case.cause.message,
            outcomes=tuple(_outcomes(case.match, settled)) if settled is not None else (),
        )


_WITNESSES: Mapping[EndWord, Evidence] = {
    EndCode.HEARTBEATS_STOPPED: Evidence.HEARTBEAT,
    EndCode.USER_TAKEN_AWAY: Evidence.USER_STATE,
}

_STATES = {
    Destination.WAITING: OutcomeState.WAITING,
    Destination.IDLE: OutcomeState.IDLE,
    Destination.LOST: OutcomeState.LOST,
}


def _outcomes(match: Match, ledger: Ledger) -> Iterator[OutcomeStatus]:
    for identity in match.spec.identities:
        settled = ledger.outcomes.get(identity)
        if settled is None:
            continue
        place = None
        if settled.outcome is Destination.WAITING:
            original = settled.score_ms is not None and settled.score_ms == ledger.queued_at_ms.get(identity)
            place = QueuePlace.ORIGINAL if original else QueuePlace.NOW
        yield OutcomeStatus(
            identity=identity,
            # A word that only another version knows says that we no longer hold the user.
            state=_STATES.get(settled.outcome, OutcomeState.LOST),
            place=place,
            detail=settled.detail or None,
        )
