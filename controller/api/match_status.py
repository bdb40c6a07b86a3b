"""The status of a Match. Only the operator writes it (`status.match`), and never because time passed."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, keyed_by, ordered
from controller.api.endings import EndReason
from controller.api.failures import LastError
from controller.api.meta import ApiModel, Condition, Timestamp
from controller.api.phases import MatchPhase

MAX_HISTORY: Final = 16


class ParticipantState(StrEnum):
    """Where a participant is."""

    INVITED = "Invited"
    JOINING = "Joining"
    CONNECTED = "Connected"
    RECONNECTING = "Reconnecting"
    LEFT = "Left"


class Evidence(StrEnum):
    """The witness: of where a participant is, or of the end that the participant caused."""

    WEBHOOK = "webhook"
    POLL = "poll"
    HEARTBEAT = "heartbeat"
    SIGNAL = "signal"
    FLAG = "flag"
    USER_STATE = "userState"


class OutcomeState(StrEnum):
    """Where a user is after the end, as the status spells it."""

    WAITING = "Waiting"
    IDLE = "Idle"
    LOST = "Lost"


class QueuePlace(StrEnum):
    """Which place in the queue a user gets: the one from before the Match, or the end of the queue."""

    ORIGINAL = "Original"
    NOW = "Now"

    @property
    def record(self) -> str:
        """How the scripts and the ledger in Redis spell the place: ORIG or NOW."""
        return "ORIG" if self is QueuePlace.ORIGINAL else "NOW"

    @classmethod
    def of_record(cls, text: str) -> "QueuePlace":
        """The inverse of `record`. Raises ValueError."""
        try:
            return {place.record: place for place in cls}[text]
        except KeyError:
            raise ValueError(f"{text!r} is no place in the queue: ORIG or NOW") from None


class RoomReference(ApiModel):
    """The room of the Match."""

    name: str
    """Name of the Room, in the namespace of the Match."""

    livekit_name: str | None = None
    """Name of the room on LiveKit: what clients join."""

    sid: str | None = None
    """Id that LiveKit gave to the room. A restored room has a new one."""

    server: str | None = None
    """The LiveKitServer that the room is on; `default` is the one of the operator's settings."""

    url: str | None = None
    """Address that clients connect to."""


class TokensStatus(ApiModel):
    """The tokens that were delivered. The tokens themselves are never in the status."""

    secret_name: str | None = None
    """Name of the Secret that holds the tokens under the key `tokens.json`, if they were to be put there."""

    expires_at: Timestamp
    """Until when the tokens let their owners join."""


class ParticipantStatus(ApiModel):
    """What is known of one participant."""

    identity: str
    """The user's id, as in the spec."""

    state: ParticipantState
    """Where the participant is: Invited, Joining (signalling, no media yet), Connected, Reconnecting or
    Left."""

    since: Timestamp
    """Since when, by the time of the evidence."""

    evidence: Evidence | None = None
    """The witness: of where the participant is (webhook, poll), or of the end that the participant caused
    (heartbeat, signal, flag, userState)."""

    detail: str | None = None
    """What the witness said, for example CONNECTION_TIMEOUT."""

    queued_at: Timestamp | None = None
    """When the user entered the queue; absent for a user who did not come from there. It gives the
    place back."""

    participant_sid: str | None = None
    """Id that LiveKit gave to this connection."""

    connected_at: Timestamp | None = None
    """When the participant was first connected."""


class OutcomeStatus(ApiModel):
    """Where one user went at the end."""

    identity: str
    """The user's id."""

    state: OutcomeState
    """Waiting (back in the queue), Idle, or Lost (the user's record no longer named the Match)."""

    place: QueuePlace | None = None
    """For a user who is Waiting: Original (the place from before the Match) or Now (the end of the queue)."""

    detail: str | None = None
    """More about this user: a word such as NeverSeen or Blocked, or the reason that LiveKit gave."""


class EndStatus(ApiModel):
    """How the Match ended."""

    reason: EndReason
    """Why it ended; the first cause wins."""

    initiator: str | None = None
    """Who ended it: a participant's identity, or what `termination.initiator` says."""

    message: str | None = None
    """Why it ended, as a sentence."""

    outcomes: Annotated[
        tuple[OutcomeStatus, ...],
        Field(json_schema_extra=keyed_by("identity")),
    ] = ()
    """Where each user went."""


class HistoryEntry(ApiModel):
    """One step of the Match."""

    phase: MatchPhase
    """The phase that was entered."""

    time: Timestamp
    """When it was entered."""

    reason: str | None = None
    """Why, as one word."""

    message: str | None = None
    """Why, as a sentence."""


class MatchStatus(ApiModel):
    """How the Match is."""

    model_config = ConfigDict(json_schema_extra=atomic())

    observed_generation: int | None = None
    """The generation of the spec that this status describes."""

    phase: MatchPhase | None = None
    """Where the Match is: Pending, Creating, Connecting, Active, Reconnecting, Terminating, and
    at last Ended or Failed."""

    reason: str | None = None
    """Why the Match is in this phase, as one word, where that is not the usual course: what interrupts the
    call, why it ended, or why it failed."""

    session_id: str | None = None
    """The id of the call: `spec.sessionID`, or else the UID of the Match."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=keyed_by("type")),
    ] = ()
    """Accepted, RoomReady, TokensIssued, Ready (room there and tokens delivered), Connected (both in the
    room), Degraded (a backend cannot be asked) and Finished (it is over, whatever the reason)."""

    room: RoomReference | None = None
    """The room of the Match."""

    tokens: TokensStatus | None = None
    """The tokens that were delivered, and where."""

    participants: Annotated[
        tuple[ParticipantStatus, ...],
        Field(json_schema_extra=keyed_by("identity")),
    ] = ()
    """What is known of each participant."""

    participants_summary: str | None = None
    """Both identities in one short line, for `kubectl get`."""

    connected: str | None = None
    """How many are in the room, of how many: `2/2`."""

    started_at: Timestamp | None = None
    """When the users were claimed."""

    ready_at: Timestamp | None = None
    """When the Match became Ready; `connectSeconds` count from here."""

    connected_at: Timestamp | None = None
    """When both were in the room for the first time; `maxDurationSeconds` count from here."""

    ended_at: Timestamp | None = None
    """When it was over."""

    end: EndStatus | None = None
    """How it ended. Once written it stays as it is."""

    history: Annotated[
        tuple[HistoryEntry, ...],
        Field(max_length=MAX_HISTORY, json_schema_extra=ordered()),
    ] = ()
    """The latest 16 steps, the oldest first."""

    last_error: LastError | None = None
    """The error that blocks progress now, or did last."""
