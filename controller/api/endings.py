"""The table of endings: each reason for which a Match ends, and what follows from it.

The planner, the enums of the CRDs, the reference in docs/ and the tests follow from `ENDINGS`. The first cause wins,
even over a deletion; it becomes durable when the users are settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias


class EndReason(StrEnum):
    """Why a Match ended."""

    SKIPPED = "Skipped"
    ENDED = "Ended"
    LEFT = "Left"
    DISCONNECTED = "Disconnected"
    NO_SHOW = "NoShow"
    NETWORK_LOST = "NetworkLost"
    ABANDONED = "Abandoned"
    MAX_DURATION = "MaxDuration"
    DELETED = "Deleted"
    ROOM_LOST = "RoomLost"
    FAILED = "Failed"
    DRAINED = "Drained"


class EndCode(StrEnum):
    """A finer word than the reason, for endings that have one: conditions, `status.reason` and history show it."""

    USER_BUSY = "UserBusy"
    USER_RESERVED = "UserReserved"
    USER_NOT_QUEUED = "UserNotQueued"
    USER_BLOCKED = "UserBlocked"
    ATTRIBUTES_TOO_LARGE = "AttributesTooLarge"
    TOO_LATE = "TooLate"
    HEARTBEATS_STOPPED = "HeartbeatsStopped"
    USER_TAKEN_AWAY = "UserTakenAway"


EndWord: TypeAlias = EndReason | EndCode
"""The one word for an end: its code where it has one, else its reason."""


class RequeuePolicy(StrEnum):
    """Which users return to the queue. A user who does not return, or did not come from the queue, becomes idle."""

    ALL = "All"
    OTHERS = "Others"
    PRESENT = "Present"
    NONE = "None"


class ReleaseDetail(StrEnum):
    """What `status.end.outcomes[].detail` can say, beside the reasons that LiveKit gives for a departure."""

    NEVER_SEEN = "NeverSeen"
    SIGNAL_ONLY = "SignalOnly"
    MEDIA_FAILED = "MediaFailed"
    HEARTBEATS_STOPPED = "HeartbeatsStopped"
    BLOCKED = "Blocked"


class Subject(StrEnum):
    """The participant who caused an ending, whom `Others` excludes. Without a subject, `Others` means both
    participants."""

    NONE = "none"
    INITIATOR = "the initiator"
    TARGET = "the target"
    LEAVER = "the participant who left"
    LOST = "the participant who lost the connection"
    ABSENT = "the participant who was not in the room"


class Rollback(StrEnum):
    """Whether an ending undoes the Match: both users return to the state and the place in the queue that they had
    before."""

    NEVER = "never"
    BEFORE_READY = "before Ready"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Ending:
    """One row: a reason, its cause, and what follows from it.

    `message` (for `status.end.message`) is a template; `{who}` stands for the subject, `{seconds}` for the window that
    ran out. The participants of the call receive `notice`; the subject receives `own_notice` instead, if it is set.
    The reasons in `superseded_by` replace this one until the users are settled.
    """

    reason: EndReason
    cause: str
    requeue: RequeuePolicy
    message: str
    notice: str
    subject: Subject = Subject.NONE
    rollback: Rollback = Rollback.NEVER
    superseded_by: frozenset[EndReason] = frozenset()
    own_notice: str = ""

    @property
    def requeue_field(self) -> str:
        """The field of `spec.requeue` that overrides the default, in Python's spelling: `on_no_show`."""
        return f"on_{self.reason.name.lower()}"

    def sentence(self, *, who: str = "", seconds: float = 0, detail: str = "") -> str:
        """The message with its gaps filled, followed by `detail` if it is not empty."""
        text = self.message.format(
            who=who or "a participant", was="were" if " and " in who else "was", seconds=f"{seconds:g}"
        )
        return f"{text}: {detail}" if detail else text


_ROWS: Final = (
    Ending(
        EndReason.SKIPPED,
        "a termination or a signal asked to skip, or an older client set its skip flag",
        RequeuePolicy.ALL,
        "{who} skipped to the next person",
        "The call is over: one of you moved on to the next person.",
        Subject.INITIATOR,
    ),
    Ending(
        EndReason.ENDED,
        "a termination or a signal asked to end the call",
        RequeuePolicy.OTHERS,
        "{who} ended the call",
        "The call was ended.",
        Subject.INITIATOR,
    ),
    Ending(
        EndReason.LEFT,
        "the client left LiveKit on its own, without a signal, and did not come back within leaveSeconds",
        RequeuePolicy.OTHERS,
        "{who} left and did not come back within {seconds} s",
        "The other person left the call.",
        Subject.LEAVER,
        superseded_by=frozenset({EndReason.SKIPPED, EndReason.ENDED}),
        own_notice="You left the call.",
    ),
    Ending(
        EndReason.DISCONNECTED,
        "a termination, a signal or the force-disconnect flag of older clients asked to remove a participant; or "
        "another service took the user's record away",
        RequeuePolicy.OTHERS,
        "{who} {was} disconnected",
        "The call was closed.",
        Subject.TARGET,
    ),
    Ending(
        EndReason.NO_SHOW,
        "a participant was not in the room connectSeconds after Ready",
        RequeuePolicy.PRESENT,
        "{who} did not join within {seconds} s",
        "The other person did not join.",
        Subject.ABSENT,
        own_notice="You did not join in time.",
    ),
    Ending(
        EndReason.NETWORK_LOST,
        "a participant lost the connection and did not come back within reconnectSeconds; or their heartbeats "
        "stopped and LiveKit does not contradict it",
        RequeuePolicy.OTHERS,
        "{who} lost the connection and did not come back within {seconds} s",
        "The other person lost the connection.",
        Subject.LOST,
        own_notice="Your connection was lost.",
    ),
    Ending(
        EndReason.ABANDONED,
        "after both participants were connected, one was alone in the room for soloSeconds in total",
        RequeuePolicy.PRESENT,
        "{who} {was} missing for {seconds} s in total",
        "The other person did not come back.",
        Subject.ABSENT,
        own_notice="You were away for too long.",
    ),
    Ending(
        EndReason.MAX_DURATION,
        "maxDurationSeconds passed since both participants were connected",
        RequeuePolicy.NONE,
        "the call reached its maximum duration of {seconds} s",
        "The call reached its time limit.",
    ),
    Ending(
        EndReason.DELETED,
        "the Match was deleted",
        RequeuePolicy.ALL,
        "the Match was deleted",
        "The call was closed.",
        rollback=Rollback.BEFORE_READY,
    ),
    Ending(
        EndReason.ROOM_LOST,
        "LiveKit lost the room, and it could not be restored in time; the room was closed on LiveKit during the call, "
        "and its participants did not come back; or a client deleted the Match's own Room",
        RequeuePolicy.ALL,
        "the room was lost",
        "The call was interrupted by a technical problem.",
    ),
    Ending(
        EndReason.FAILED,
        "the Match could not be set up",
        RequeuePolicy.ALL,
        "the Match could not be set up, and both users are where they were before",
        "The call could not be set up.",
        rollback=Rollback.ALWAYS,
    ),
    Ending(
        EndReason.DRAINED,
        "the LiveKit server was drained",
        RequeuePolicy.ALL,
        "the LiveKit server was taken out of service",
        "The call was closed for maintenance.",
    ),
)

ENDINGS: Final[Mapping[EndReason, Ending]] = MappingProxyType({row.reason: row for row in _ROWS})
"""Each reason exactly once."""


@dataclass(frozen=True, slots=True)
class EndCodeRow:
    """One row: a finer word for an end, the reason that it belongs to, and what it means."""

    code: EndCode
    reason: EndReason
    meaning: str


_CODE_ROWS: Final = (
    EndCodeRow(EndCode.USER_BUSY, EndReason.FAILED, "another Match holds a user"),
    EndCodeRow(EndCode.USER_RESERVED, EndReason.FAILED, "a user is reserved for another Match"),
    EndCodeRow(
        EndCode.USER_NOT_QUEUED,
        EndReason.FAILED,
        "a user neither waits in the queue nor is reserved for this Match, and admission is Queued or the user has "
        "just left the queue",
    ),
    EndCodeRow(EndCode.USER_BLOCKED, EndReason.FAILED, "a user is blocked"),
    EndCodeRow(
        EndCode.ATTRIBUTES_TOO_LARGE,
        EndReason.FAILED,
        "LiveKit would refuse a participant: the attributes are more than 65536 bytes in total",
    ),
    EndCodeRow(EndCode.TOO_LATE, EndReason.FAILED, "the Match was not Ready within readySeconds"),
    EndCodeRow(EndCode.HEARTBEATS_STOPPED, EndReason.NETWORK_LOST, "the heartbeats of a client stopped"),
    EndCodeRow(
        EndCode.USER_TAKEN_AWAY,
        EndReason.DISCONNECTED,
        "the record of a user in Redis no longer names this Match: another service changed it",
    ),
)

END_CODES: Final[Mapping[EndCode, EndCodeRow]] = MappingProxyType({row.code: row for row in _CODE_ROWS})
"""Each code exactly once."""

RELEASE_DETAILS: Final[Mapping[ReleaseDetail, str]] = MappingProxyType(
    {
        ReleaseDetail.NEVER_SEEN: "LiveKit never saw the user",
        ReleaseDetail.SIGNAL_ONLY: "LiveKit knows the client, but no media came up",
        ReleaseDetail.MEDIA_FAILED: "LiveKit reported that the client could not make a media connection",
        ReleaseDetail.HEARTBEATS_STOPPED: END_CODES[EndCode.HEARTBEATS_STOPPED].meaning,
        ReleaseDetail.BLOCKED: "the user is blocked, so they do not go back to the queue (the script `settle` says so)",
    }
)
"""What each detail means."""
