"""One look at a Match: the object, what was seen of it and when, with the readings that several rules share. Pure.

Each reading is made once per look. The rules take a `MatchLook`; `rules.match_case` adds what they decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from controller.api.match import Match
from controller.api.phases import MatchPhase
from controller.facts.ledger import Ledger
from controller.facts.livekit import LiveKitRoom
from controller.facts.match import MatchSeen, TokensFacts
from controller.facts.observation import Absent, Present, value_of
from controller.rules import deadlines
from controller.rules.presence import Presence, presences, together_at
from controller.rules.stale import is_stale

_MET = frozenset({MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


@dataclass(frozen=True)
class MatchLook:
    """The desired object, what was seen of it, and the moment for which it is judged."""

    match: Match
    seen: MatchSeen
    now: datetime

    @cached_property
    def session_id(self) -> str:
        """The id of the call: the matchmaker's, or the UID of the Match."""
        return self.match.spec.session_id or self.match.metadata.uid

    @cached_property
    def ledger(self) -> Ledger | None:
        """The ledger, where it could be read and is there."""
        return value_of(self.seen.ledger)

    @cached_property
    def tokens(self) -> TokensFacts | None:
        """The tokens that are known to be delivered."""
        return value_of(self.seen.tokens)

    @cached_property
    def livekit_room(self) -> LiveKitRoom | None:
        """The room on LiveKit, where LiveKit was asked and has it."""
        return value_of(self.seen.livekit_room)

    @cached_property
    def is_claimed(self) -> bool:
        """Whether the ledger says that this Match holds the users."""
        return self.ledger is not None and self.ledger.claimed

    @cached_property
    def was_over(self) -> bool:
        """Whether the Match was over before this look.

        Where its status was edited, the ledger decides. That is gone a day after the end: then two signs in the status
        are enough, so that a Match which ended long ago takes no user again.
        """
        status = self.match.status
        if status.is_over and status.finished is not None:
            return True
        return isinstance(self.seen.ledger, Absent) and status.seems_over

    @cached_property
    def has_met(self) -> bool:
        """Whether both were in the room at the same time, by the status or by the ledger."""
        return self.match.status.connected_at is not None or (self.ledger is not None and self.ledger.phase in _MET)

    @cached_property
    def met_at(self) -> datetime | None:
        """When both were in the room, by the status or by the ledger; None if neither knows of it."""
        status = self.match.status
        return status.connected_at or (together_at(self.match, self.ledger) if self.ledger is not None else None)

    @cached_property
    def presences(self) -> tuple[Presence, ...]:
        """Where each participant is, in the order of the spec."""
        return presences(self.match, self.seen)

    @cached_property
    def missing(self) -> tuple[Presence, ...]:
        """The participants who are not in the room."""
        return tuple(person for person in self.presences if not person.is_in)

    @cached_property
    def ready_deadline(self) -> datetime:
        """Until when the Match must be Ready."""
        return deadlines.ready_deadline(self.match)

    @cached_property
    def ready_by(self) -> datetime | None:
        """Until when the Match must be Ready; None once it was, or both were in the room: then it decides nothing."""
        return None if self.match.status.ready_at is not None or self.has_met else self.ready_deadline

    @cached_property
    def connect_deadline(self) -> datetime | None:
        """Until when both must be in the room; None before Ready, and after both were in."""
        return deadlines.connect_deadline(self.match, self.seen.server)

    @cached_property
    def return_deadlines(self) -> Mapping[str, datetime]:
        """Until when the participants who dropped out may come back, by identity, as the status has it."""
        return deadlines.return_deadlines(self.match, self.ledger, self.seen.server)

    @cached_property
    def alone_deadline(self) -> datetime | None:
        """Until when one participant may be alone; None while none is alone."""
        if self.ledger is None:
            return None
        return deadlines.alone_deadline(self.match, self.ledger.alone, self.seen.server)

    @cached_property
    def duration_deadline(self) -> datetime | None:
        """Until when the call may last; None without a limit, and before both were in the room."""
        return deadlines.duration_deadline(self.match)

    def was_asked_after(self, deadline: datetime) -> bool:
        """Whether both witnesses, LiveKit and the ledger, were asked after the deadline: facts outrank deadlines.

        While LiveKit's silence goes on, it is not known by how much it moves the deadline, so no answer counts. The
        silence of a restart goes on until LiveKit has listed its rooms to this replica.
        """
        server = self.seen.server
        if not server.has_answered or is_stale(server.silent_since, self.now):
            return False
        people, ledger = self.seen.people, self.seen.ledger
        listed = isinstance(people, Present) and people.at >= deadline
        return listed and isinstance(ledger, Present) and ledger.at >= deadline
