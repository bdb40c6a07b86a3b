"""The phases of a Match and of a Room: what each phase means, and on which events an object leaves it.

The enums of the CRDs, the docs and the tests follow from these tables.
"""

from enum import StrEnum
from typing import Final

from controller.api.machine import Exit, Machine, Stage, machine


class MatchPhase(StrEnum):
    """The phase of a Match."""

    PENDING = "Pending"
    CREATING = "Creating"
    CONNECTING = "Connecting"
    ACTIVE = "Active"
    RECONNECTING = "Reconnecting"
    TERMINATING = "Terminating"
    ENDED = "Ended"
    FAILED = "Failed"


class RoomPhase(StrEnum):
    """The phase of a Room."""

    PENDING = "Pending"
    CREATING = "Creating"
    ACTIVE = "Active"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FAILED = "Failed"

    @property
    def record(self) -> str:
        """The phase as the room's record in Redis spells it."""
        return self.value.lower()


_M = MatchPhase
MATCH_PHASES: Final[Machine[MatchPhase]] = machine(
    Stage(
        _M.PENDING,
        "the API server accepted the Match; the users are not claimed yet",
        (
            Exit("the users are claimed", _M.CREATING),
            Exit("a user is unavailable", _M.FAILED),
            Exit("readySeconds passed since creation (TooLate)", _M.FAILED),
            Exit("it is terminated or deleted", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.CREATING,
        "the users are CONNECTING; Roomkeeper creates the room and the tokens",
        (
            Exit("the room and the tokens are ready", _M.CONNECTING),
            Exit("they are not ready in time: the Match is rolled back", _M.FAILED),
            Exit("it is terminated or deleted", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.CONNECTING,
        "Ready; the participants are joining",
        (
            Exit("both are in the room", _M.ACTIVE),
            Exit("connectSeconds passed since readyAt (NoShow)", _M.TERMINATING),
            Exit("any other ending", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.ACTIVE,
        "both participants are in the room; the users are IN_CALL",
        (
            Exit("a participant drops out", _M.RECONNECTING),
            Exit("any ending", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.RECONNECTING,
        "a participant dropped out, perhaps only for a moment",
        (
            Exit("both are back", _M.ACTIVE),
            Exit("the window ends, or any other ending", _M.TERMINATING),
        ),
    ),
    Stage(
        _M.TERMINATING,
        "the users are DISCONNECTING: Roomkeeper notifies and settles them, closes the room and deletes the tokens",
        (
            Exit("the users are settled and the room is gone", _M.ENDED),
            Exit("the same, for a Match that was never set up", _M.FAILED),
        ),
    ),
    Stage(_M.ENDED, "the call is over", afterwards="deleted after ttlSecondsAfterFinished"),
    Stage(_M.FAILED, "the Match could not be set up", afterwards="deleted after ttlSecondsAfterFinished"),
)

_R = RoomPhase
ROOM_PHASES: Final[Machine[RoomPhase]] = machine(
    Stage(
        _R.PENDING,
        "the API server accepted the Room; no LiveKit server is chosen yet",
        (
            Exit("a server is chosen", _R.CREATING),
            Exit("no server fits", _R.FAILED),
            Exit("it is no longer wanted", _R.TERMINATING),
        ),
    ),
    Stage(
        _R.CREATING,
        "Roomkeeper creates the LiveKit room",
        (
            Exit("LiveKit has the room", _R.ACTIVE),
            Exit("LiveKit refuses it for good", _R.FAILED),
            Exit("it is no longer wanted", _R.TERMINATING),
        ),
    ),
    Stage(
        _R.ACTIVE,
        "LiveKit has the room; if LiveKit loses it, Roomkeeper restores it under the same name",
        (
            Exit("it is terminated or deleted, or maxAgeSeconds passed", _R.TERMINATING),
            Exit("LiveKit closed an empty standing room after its timeout (Empty)", _R.TERMINATED),
            Exit("LiveKit lost it: Roomkeeper restores it", _R.CREATING),
            Exit("LiveKit lost it, and it cannot be restored", _R.FAILED),
        ),
    ),
    Stage(
        _R.TERMINATING,
        "Roomkeeper deletes the LiveKit room",
        (Exit("LiveKit no longer has the room", _R.TERMINATED),),
    ),
    Stage(
        _R.TERMINATED,
        "the LiveKit room is gone",
        afterwards="stays closed, even if a client creates the room on LiveKit again",
    ),
    Stage(_R.FAILED, "LiveKit cannot provide the room", afterwards="nothing of Roomkeeper's is left on LiveKit"),
)
