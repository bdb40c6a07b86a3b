"""Stands in for an object that cannot be read, so that its deletion is finished by the ordinary plan. Pure.

Kubernetes has the metadata, and the ledger of a Match has its users, their places and how far the call came. All other
terms are the defaults. Nothing but a deletion is planned from a stand-in, and its status is never written. Neighbors:
`loop.recipes` names these functions per kind, `loop.reconcile` runs the plan.
"""

from __future__ import annotations

from controller.api.match import Match, MatchSpec, MatchStatus, Participant, ParticipantState, ParticipantStatus
from controller.api.phases import MatchPhase
from controller.api.room import Room, RoomSpec
from controller.facts.ledger import Ledger
from controller.facts.time import from_milliseconds
from controller.facts.unreadable import Unreadable

_READY = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING, MatchPhase.TERMINATING})
_MET = _READY - {MatchPhase.CONNECTING, MatchPhase.TERMINATING}


def stand_in_match(found: Unreadable, ledger: Ledger | None) -> Match:
    """The Match that is deleted: its users are those of the ledger, or none if it holds none."""
    # Not validated: whatever number of users the ledger has.
    people = tuple(
        Participant.model_construct(identity=identity) for identity in (ledger.queued_at_ms if ledger else ())
    )
    spec = MatchSpec.model_construct(participants=people, session_id=(ledger.session_id if ledger else "") or None)
    status = _status(found, ledger) if ledger is not None and ledger.claimed else MatchStatus()
    return Match.model_construct(metadata=found.metadata, spec=spec, status=status)


def stand_in_room(found: Unreadable) -> Room:
    """The Room that is deleted. Its LiveKit room has a name that follows from the metadata."""
    return Room(metadata=found.metadata, spec=RoomSpec())


def _status(found: Unreadable, ledger: Ledger) -> MatchStatus:
    """How far the call came: whether it is rolled back, and which place in the queue its users get, depends on it."""
    created, deleted = found.metadata.creation_timestamp, found.metadata.deletion_timestamp
    settled = from_milliseconds(ledger.settled_at_ms) if ledger.settled and ledger.settled_at_ms is not None else None
    claimed = from_milliseconds(ledger.created_at_ms) if ledger.created_at_ms is not None else created
    has_met = ledger.phase in _MET
    return MatchStatus(
        started_at=claimed,
        ready_at=claimed if ledger.phase in _READY else None,
        connected_at=claimed if has_met else None,
        # Its users were free before it was deleted: the end is not that of the deletion, and was told.
        ended_at=settled if settled is not None and deleted is not None and settled < deleted else None,
        participants=tuple(
            ParticipantStatus(
                identity=identity,
                state=ParticipantState.CONNECTED if has_met else ParticipantState.INVITED,
                since=claimed,
                queued_at=from_milliseconds(queued_ms) if queued_ms is not None else None,
                connected_at=claimed if has_met else None,
            )
            for identity, queued_ms in ledger.queued_at_ms.items()
            if claimed is not None
        ),
    )
