"""The resource Match: one call between two users, from the waiting queue and back.

`match_blocks`, `match_spec` and `match_status` define its parts; this module is the one to import them from.
"""

from typing import Literal

from pydantic import Field

from controller.api.endings import RequeuePolicy
from controller.api.fields import LabelSelector, Placement
from controller.api.match_blocks import (
    Grants,
    Participant,
    PublishSource,
    Requeue,
    RoomOptions,
    Termination,
    TerminationAction,
    Timeouts,
    TokenDelivery,
    TokenOptions,
)
from controller.api.match_spec import Admission, MatchSpec
from controller.api.match_status import (
    MAX_HISTORY,
    EndStatus,
    Evidence,
    HistoryEntry,
    MatchStatus,
    OutcomeState,
    OutcomeStatus,
    ParticipantState,
    ParticipantStatus,
    QueuePlace,
    RoomReference,
    TokensStatus,
)
from controller.api.meta import Resource
from controller.api.names import PAUSED


class Match(Resource):
    """One call between two users.

    Roomkeeper claims both users, creates a room and tokens, and watches the call. When the call is over, Roomkeeper
    closes the room and returns each user to the queue or makes them idle.
    """

    api_version: Literal["roomkeeper.dev/v1alpha1"] = "roomkeeper.dev/v1alpha1"
    kind: Literal["Match"] = "Match"
    spec: MatchSpec
    """The two participants and the terms of their call."""
    status: MatchStatus = Field(default_factory=MatchStatus)
    """The state of the Match. Only Roomkeeper writes it."""

    @property
    def counts_as_over(self) -> bool:
        """Whether this Match holds no user any longer, as far as its object says.

        Its own reconcile corrects a status that another client has edited. Nothing reconciles a paused Match, so there
        two signs are enough: its users are freed.
        """
        is_paused = self.metadata.annotations.get(PAUSED) == "true"
        return self.status.is_over or (is_paused and self.status.seems_over)


__all__ = [
    "MAX_HISTORY",
    "Admission",
    "EndStatus",
    "Evidence",
    "Grants",
    "HistoryEntry",
    "LabelSelector",
    "Match",
    "MatchSpec",
    "MatchStatus",
    "OutcomeState",
    "OutcomeStatus",
    "Participant",
    "ParticipantState",
    "ParticipantStatus",
    "Placement",
    "PublishSource",
    "QueuePlace",
    "Requeue",
    "RequeuePolicy",
    "RoomOptions",
    "RoomReference",
    "Termination",
    "TerminationAction",
    "Timeouts",
    "TokenDelivery",
    "TokenOptions",
    "TokensStatus",
]
