"""The status of a Match. Only the operator writes it, and never just because time passed."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, keyed_by, ordered
from controller.api.conditions import ConditionType
from controller.api.endings import EndReason
from controller.api.failures import LastError
from controller.api.meta import ApiModel, Condition, ConditionStatus, Timestamp
from controller.api.phases import MATCH_PHASES, MatchPhase

MAX_HISTORY: Final = 16


class ParticipantState(StrEnum):
    """The state of a participant in the call."""

    INVITED = "Invited"
    JOINING = "Joining"
    CONNECTED = "Connected"
    RECONNECTING = "Reconnecting"
    LEFT = "Left"


class Evidence(StrEnum):
    """The witness for the state of a participant, or for an ending that the participant caused."""

    WEBHOOK = "webhook"
    POLL = "poll"
    HEARTBEAT = "heartbeat"
    SIGNAL = "signal"
    FLAG = "flag"
    USER_STATE = "userState"


class OutcomeState(StrEnum):
    """The state of a user after the end."""

    WAITING = "Waiting"
    IDLE = "Idle"
    LOST = "Lost"


class QueuePlace(StrEnum):
    """The place in the queue that a user got."""

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
    """Name of the room on LiveKit, which clients join."""

    sid: str | None = None
    """Id that LiveKit gave to the room. A restored room has a new id."""

    server: str | None = None
    """Name of the LiveKit server that has the room; `default` is the server of the operator's settings."""

    url: str | None = None
    """Address of LiveKit to which clients connect."""


class TokensStatus(ApiModel):
    """The delivered tokens. The status never contains the tokens themselves."""

    secret_name: str | None = None
    """Name of the Secret that holds the tokens under the key `tokens.json`; absent where `tokens.delivery` uses no
    Secret."""

    expires_at: Timestamp
    """Time until which the tokens let their owners join the room."""

    api_key: str | None = None
    """Name of LiveKit's API key that signed the tokens. If another key signs by now, they are issued again."""

    secret_digest: str | None = None
    """Digest of the secret of this key. If the key has another secret by now, the tokens are issued again."""


class ParticipantStatus(ApiModel):
    """The observed state of one participant."""

    identity: str
    """The user's id, as in the spec."""

    state: ParticipantState
    """The state of the participant. Invited: not seen on LiveKit yet. Joining: connected to LiveKit, without media.
    Connected: in the room. Reconnecting: dropped out of a call and may come back. Left: gone."""

    since: Timestamp
    """When this state began, by the time of the evidence."""

    evidence: Evidence | None = None
    """The witness. For the state of the participant: webhook or poll. For an ending that this participant caused:
    heartbeat, signal, flag or userState."""

    detail: str | None = None
    """What the witness reported, for example CONNECTION_TIMEOUT."""

    queued_at: Timestamp | None = None
    """When the user entered the queue; absent for a user who did not come from the queue. From this time, Roomkeeper
    restores the user's place."""

    participant_sid: str | None = None
    """Id that LiveKit gave to the participant's latest connection."""

    connected_at: Timestamp | None = None
    """When the participant was connected for the first time."""


class OutcomeStatus(ApiModel):
    """The state of one user after the end."""

    identity: str
    """The user's id."""

    state: OutcomeState
    """Waiting: the user is back in the queue. Idle: the user is not in the queue. Lost: the Match no longer held the
    user's record in Redis."""

    place: QueuePlace | None = None
    """The place in the queue of a user who is Waiting. Original: the place from before the Match. Now: the end of
    the queue."""

    detail: str | None = None
    """Further detail in one word, for example NeverSeen or Blocked."""


class EndStatus(ApiModel):
    """How the Match ended."""

    reason: EndReason
    """Why the Match ended. The first cause wins."""

    initiator: str | None = None
    """Who ended the Match: the identity of a participant, or the text of `termination.initiator`; absent if unknown."""

    message: str | None = None
    """Why the Match ended, as a sentence."""

    outcomes: Annotated[
        tuple[OutcomeStatus, ...],
        Field(json_schema_extra=keyed_by("identity")),
    ] = ()
    """The state of each user after the end."""


class HistoryEntry(ApiModel):
    """One phase that the Match entered."""

    phase: MatchPhase
    """The phase that the Match entered."""

    time: Timestamp
    """When the Match entered this phase."""

    reason: str | None = None
    """Why the Match entered this phase, as one word."""

    message: str | None = None
    """Why the Match entered this phase, as a sentence."""


class MatchStatus(ApiModel):
    """The observed state of the Match."""

    model_config = ConfigDict(json_schema_extra=atomic())

    observed_generation: int | None = None
    """The generation of the spec that this status describes."""

    phase: MatchPhase | None = None
    """The phase of the Match: Pending, Creating, Connecting, Active, Reconnecting, Terminating, and finally Ended or
    Failed."""

    reason: str | None = None
    """Why the Match is in this phase, as one word: what interrupts the call, why it ended, or why it failed; else why
    Roomkeeper does not go on: `Paused`, or the reason of the condition Degraded. Absent in the normal course of a
    call."""

    session_id: str | None = None
    """Id of the call: `spec.sessionID`, or the UID of the Match if that is not set."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=keyed_by("type")),
    ] = ()
    """Accepted: the users are claimed. RoomReady: the room exists on LiveKit. TokensIssued: the tokens are delivered.
    Ready: the participants can join. Connected: both are in the room. Degraded: a backend does not answer, or refuses.
    Finished: the Match is over, for whatever reason. Paused: nothing is done with it."""

    room: RoomReference | None = None
    """The room of the Match."""

    tokens: TokensStatus | None = None
    """The delivered tokens, and where they are."""

    participants: Annotated[
        tuple[ParticipantStatus, ...],
        Field(json_schema_extra=keyed_by("identity")),
    ] = ()
    """The observed state of each participant."""

    participants_summary: str | None = None
    """Both identities in one short line, as `kubectl get` shows them."""

    connected: str | None = None
    """How many of the participants are in the room, for example `1/2`."""

    started_at: Timestamp | None = None
    """When Roomkeeper claimed the users."""

    ready_at: Timestamp | None = None
    """When the Match became Ready. `timeouts.connectSeconds` starts here."""

    connected_at: Timestamp | None = None
    """When both participants were in the room for the first time. `timeouts.maxDurationSeconds` starts here."""

    ended_at: Timestamp | None = None
    """When the Match was over. `ttlSecondsAfterFinished` starts here."""

    end: EndStatus | None = None
    """How the Match ended. Once written, it does not change."""

    history: Annotated[
        tuple[HistoryEntry, ...],
        Field(max_length=MAX_HISTORY, json_schema_extra=ordered()),
    ] = ()
    """The latest phases of the Match, at most 16, the oldest first."""

    last_error: LastError | None = None
    """The current error, or else the latest one."""

    @property
    def signs_of_an_end(self) -> int:
        """How many of the phase, `end` and `endedAt` say that the Match is over.

        A phase that this version does not know may be a terminal one.
        """
        stage = MATCH_PHASES.get(self.phase) if self.phase is not None else None
        may_be_terminal = self.phase is not None and (stage is None or stage.terminal)
        return sum((may_be_terminal, self.end is not None, self.ended_at is not None))

    @property
    def livekit_server(self) -> str:
        """The LiveKit server of the call, also after its Room is gone; empty if none was chosen."""
        return (self.room.server or "") if self.room is not None else ""

    @property
    def is_over(self) -> bool:
        """Whether the Match is over and nothing of it is left to do.

        Roomkeeper writes all signs of the end at once. Where one is missing, another client has edited the status.
        """
        return self.signs_of_an_end == 3

    @property
    def seems_over(self) -> bool:
        """Whether two signs say that the Match is over, the condition Finished among them.

        That is enough where nothing else can tell: the ledger is gone, and a Match that has ended takes no user again.
        """
        return self.signs_of_an_end + (self.finished is not None) >= 2

    @property
    def finished(self) -> Condition | None:
        """The condition Finished, where it holds. Roomkeeper writes it with the signs of an end."""
        holds = (one for one in self.conditions if one.status is ConditionStatus.TRUE)
        return next((one for one in holds if one.type == ConditionType.FINISHED), None)
