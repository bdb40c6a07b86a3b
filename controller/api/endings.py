"""The one table of endings: every reason for which a Match ends, and what follows from it.

The planner, the enums of the CRDs, the reference in docs/ and the tests are made from `ENDINGS`. The first
cause wins, deletion included; it becomes durable when the users are settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


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


class RequeuePolicy(StrEnum):
    """Who goes back to the queue. Whoever does not, or never came from it, becomes idle."""

    ALL = "All"
    OTHERS = "Others"
    PRESENT = "Present"
    NONE = "None"


class NoShowKind(StrEnum):
    """What was seen of somebody who did not get into the call."""

    NEVER_SEEN = "NeverSeen"
    SIGNAL_ONLY = "SignalOnly"
    MEDIA_FAILED = "MediaFailed"


class Subject(StrEnum):
    """Whom an ending goes back to: the one whom `Others` leaves out. Without a subject, `Others` means
    everybody."""

    NOBODY = "nobody"
    INITIATOR = "the initiator"
    TARGET = "the target"
    LEAVER = "whoever left"
    LOST = "whoever was lost"
    ABSENT = "whoever was not in the room"


class Rollback(StrEnum):
    """Whether an ending undoes the Match: everybody exactly where they were, place in the queue included."""

    NEVER = "never"
    BEFORE_READY = "before Ready"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Ending:
    """One row: a reason, its cause, and what follows from it.

    `message` (for `status.end.message`) is a template; `{who}` stands for the subject, `{seconds}` for the window that
    ran out. `notice` is for the people in the call; the subject is told `own_notice` instead, where there is one.
    `superseded_by` are reasons that replace this one as long as the users are not settled.
    """

    reason: EndReason
    cause: str
    requeue: RequeuePolicy
    message: str
    notice: str
    subject: Subject = Subject.NOBODY
    rollback: Rollback = Rollback.NEVER
    superseded_by: frozenset[EndReason] = frozenset()
    own_notice: str = ""

    @property
    def requeue_field(self) -> str:
        """The field of `spec.requeue` that overrides the default, in Python's spelling: `on_no_show`."""
        return f"on_{self.reason.name.lower()}"

    def sentence(self, *, who: str = "", seconds: float = 0, detail: str = "") -> str:
        """The message with its gaps filled, and with the particulars of this case if there are any."""
        text = self.message.format(who=who or "somebody", seconds=f"{seconds:g}")
        return f"{text}: {detail}" if detail else text


_ROWS: Final = (
    Ending(
        EndReason.SKIPPED,
        "termination Skip; a skip signal; skip flags of older clients",
        RequeuePolicy.ALL,
        "{who} skipped to the next person",
        "The call is over: one of you moved on to the next person.",
        Subject.INITIATOR,
    ),
    Ending(
        EndReason.ENDED,
        "termination End; an end signal",
        RequeuePolicy.OTHERS,
        "{who} ended the call",
        "The call was ended.",
        Subject.INITIATOR,
    ),
    Ending(
        EndReason.LEFT,
        "the client said goodbye to LiveKit, without a signal, and was not back after leaveSeconds",
        RequeuePolicy.OTHERS,
        "{who} left and did not come back within {seconds} s",
        "The other person left the call.",
        Subject.LEAVER,
        superseded_by=frozenset({EndReason.SKIPPED, EndReason.ENDED}),
        own_notice="You left the call.",
    ),
    Ending(
        EndReason.DISCONNECTED,
        "termination Disconnect; a disconnect signal; the force-disconnect flag of older clients; or another "
        "service took the user's record away",
        RequeuePolicy.OTHERS,
        "{who} was disconnected",
        "The call was closed.",
        Subject.TARGET,
    ),
    Ending(
        EndReason.NO_SHOW,
        "not everybody was in the room connectSeconds after Ready",
        RequeuePolicy.PRESENT,
        "{who} did not join within {seconds} s",
        "The other person did not join.",
        Subject.ABSENT,
        own_notice="You did not join in time.",
    ),
    Ending(
        EndReason.NETWORK_LOST,
        "the connection was lost and not back after reconnectSeconds; or heartbeats stopped and LiveKit does "
        "not contradict",
        RequeuePolicy.OTHERS,
        "{who} lost the connection and did not come back within {seconds} s",
        "The other person lost the connection.",
        Subject.LOST,
        own_notice="Your connection was lost.",
    ),
    Ending(
        EndReason.ABANDONED,
        "after both were connected, one was alone for soloSeconds in all",
        RequeuePolicy.PRESENT,
        "{who} was missing for {seconds} s in all",
        "The other person did not come back.",
        Subject.ABSENT,
        own_notice="You were away for too long.",
    ),
    Ending(
        EndReason.MAX_DURATION,
        "maxDurationSeconds since both were connected are over",
        RequeuePolicy.NONE,
        "the call reached its longest duration of {seconds} s",
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
        "the room was gone and could not be restored in time; it was closed on LiveKit in the middle of the call, and "
        "who was in it did not come back; or the Match's own Room was deleted by hand",
        RequeuePolicy.ALL,
        "the room was lost",
        "The call was interrupted by a technical problem.",
    ),
    Ending(
        EndReason.FAILED,
        "the Match cannot be made",
        RequeuePolicy.ALL,
        "the Match could not be made, and everybody is where they were before",
        "The call could not be set up.",
        rollback=Rollback.ALWAYS,
    ),
    Ending(
        EndReason.DRAINED,
        "the LiveKit server was drained (not served yet)",
        RequeuePolicy.ALL,
        "the LiveKit server was taken out of service",
        "The call was closed for maintenance.",
    ),
)

ENDINGS: Final[Mapping[EndReason, Ending]] = MappingProxyType({row.reason: row for row in _ROWS})
"""Every reason exactly once."""
