"""The phases of a Match and of a Room: what each means, and every way out of it.

The enums of the CRDs, the page on the life of a call and the tests are made from these tables.
"""

from enum import StrEnum
from typing import Final

from controller.api.machine import Exit, Machine, Stage, machine


class MatchPhase(StrEnum):
    """Where a Match is between its creation and its end."""

    PENDING = "Pending"
    CREATING = "Creating"
    CONNECTING = "Connecting"
    ACTIVE = "Active"
    RECONNECTING = "Reconnecting"
    TERMINATING = "Terminating"
    ENDED = "Ended"
    FAILED = "Failed"


class RoomPhase(StrEnum):
    """Where a Room is between its creation and its end."""

    PENDING = "Pending"
    CREATING = "Creating"
    ACTIVE = "Active"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FAILED = "Failed"

    @property
    def record(self) -> str:
        """How the room's record in Redis spells the phase."""
        return self.value.lower()


_M = MatchPhase
MATCH_PHASES: Final[Machine[MatchPhase]] = machine(
    Stage(
        _M.PENDING,
        "accepted by the API; the users are not claimed yet",
        (
            Exit("the users are claimed", _M.CREATING),
            Exit("the users cannot be claimed", _M.FAILED),
            Exit("it is not Ready within readySeconds of its creation (TooLate)", _M.FAILED),
            Exit("it is terminated or deleted", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.CREATING,
        "the users are CONNECTING; room and tokens are being made",
        (
            Exit("room and tokens are there", _M.CONNECTING),
            Exit("room and tokens cannot be made in time: everything is rolled back", _M.FAILED),
            Exit("it is terminated or deleted", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.CONNECTING,
        "Ready; people are joining",
        (
            Exit("both are in the room", _M.ACTIVE),
            Exit("a participant has not come within connectSeconds of readyAt (NoShow)", _M.TERMINATING),
            Exit("any other ending", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.ACTIVE,
        "both are in the room; the users are IN_CALL",
        (
            Exit("a participant drops out", _M.RECONNECTING),
            Exit("any ending", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.RECONNECTING,
        "a participant dropped out, perhaps for a moment",
        (
            Exit("both are back", _M.ACTIVE),
            Exit("the window is over, or any other ending", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.TERMINATING,
        "the users are DISCONNECTING: clients are told, the users are settled, room and tokens are deleted",
        (
            Exit("the users are settled and the room is gone", _M.ENDED),
            Exit("the same, for a Match that could not be made", _M.FAILED),
        ),
    ),
    Stage(_M.ENDED, "it is over", afterwards="deleted after ttlSecondsAfterFinished"),
    Stage(_M.FAILED, "it could not be made", afterwards="deleted after ttlSecondsAfterFinished"),
)

_R = RoomPhase
ROOM_PHASES: Final[Machine[RoomPhase]] = machine(
    Stage(
        _R.PENDING,
        "accepted by the API; no LiveKit server is chosen yet",
        (
            Exit("a server is chosen", _R.CREATING),
            Exit("no server fits", _R.FAILED),
            Exit("it is no longer wanted", _R.TERMINATING),
        ),
    ),
    Stage(
        _R.CREATING,
        "the LiveKit room is being made",
        (
            Exit("LiveKit has the room", _R.ACTIVE),
            Exit("LiveKit refuses it for good", _R.FAILED),
            Exit("it is no longer wanted", _R.TERMINATING),
        ),
    ),
    Stage(
        _R.ACTIVE,
        "the LiveKit room is there; if LiveKit loses it, it is restored under the same name",
        (
            Exit("it is terminated or deleted, or maxAgeSeconds are over", _R.TERMINATING),
            Exit("LiveKit closed a standing room that was empty, by its own timeout (Empty)", _R.TERMINATED),
            Exit("LiveKit lost it: it is being restored", _R.CREATING),
            Exit("it is lost and cannot be restored", _R.FAILED),
        ),
    ),
    Stage(
        _R.TERMINATING,
        "the LiveKit room is being deleted",
        (Exit("LiveKit no longer has the room", _R.TERMINATED),),
    ),
    Stage(_R.TERMINATED, "the LiveKit room is gone", afterwards="deleted again if a client revives it"),
    Stage(_R.FAILED, "LiveKit cannot make the room, or it was given up", afterwards="nothing of ours stays on LiveKit"),
)
