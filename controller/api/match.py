"""The resource Match: two people who are to talk to each other, from the waiting queue and back."""

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


class Match(Resource):
    """Two people who are to talk to each other.

    Roomkeeper claims both users, makes a room and tokens, watches the call, and when it is over puts
    everybody back into the queue or lets them go.
    """

    api_version: Literal["roomkeeper.dev/v1alpha1"] = "roomkeeper.dev/v1alpha1"
    kind: Literal["Match"] = "Match"
    spec: MatchSpec
    """Who talks to whom, and on which terms."""
    status: MatchStatus = Field(default_factory=MatchStatus)
    """What has become of the Match; written by Roomkeeper."""


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
