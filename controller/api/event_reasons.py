"""The reasons of Kubernetes Events that no other table holds.

The others are endings (`api.endings`, `api.room`) and issues of a Room. `announce.announcer` posts them.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from controller.api.endings import EndReason
from controller.api.failures import ErrorType
from controller.api.names import PAUSED


class EventReason(StrEnum):
    """Reasons of Events about what is no ending and no issue."""

    CLEANUP_POSTPONED = "CleanupPostponed"
    CONNECTED = "Connected"
    DELETION_PAUSED = "DeletionPaused"
    PAUSED = "Paused"
    RESTORED = "Restored"
    TWO_OPERATORS = "TwoOperators"


EVENT_REASONS: Final[Mapping[EventReason, str]] = MappingProxyType(
    {
        EventReason.CLEANUP_POSTPONED: "the object is released without a backend that does not answer; what is left "
        "there is cleaned up when it answers again",
        EventReason.CONNECTED: "both participants are in the room",
        EventReason.DELETION_PAUSED: f"the deletion waits until the annotation {PAUSED}, which freezes this object, is "
        "removed",
        EventReason.PAUSED: "nothing is done with the object any longer; the message says why",
        EventReason.RESTORED: "LiveKit lost the room; it was made again under the same name",
        EventReason.TWO_OPERATORS: "two operators are set up for the namespace; the message says which one serves it",
    }
)
"""The message of each."""


WARNED_ENDINGS: Final = frozenset({EndReason.ROOM_LOST, EndReason.FAILED})
"""The endings of a Match whose Event is a Warning: something of the service went wrong. The others are Normal: a user,
a matchmaker or an administrator wanted them, or a user did not come or lost the network."""


def error_reason(type_: ErrorType) -> str:
    """The reason of the Event about an error: `RedisError`, for example."""
    return f"{type_}Error"
