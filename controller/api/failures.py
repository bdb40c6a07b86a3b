"""Errors as they appear in the status of a resource: what failed, how severe it is, and what Roomkeeper does.

`api.failures_table` has a row for each error, and `rules.failures` finds the row of one that happened.
"""

from enum import StrEnum

from controller.api.meta import ApiModel, Timestamp


class ErrorType(StrEnum):
    """The source of an error."""

    NETWORK = "Network"
    VALIDATION = "Validation"
    SYSTEM = "System"
    USER = "User"
    REDIS = "Redis"
    LIVEKIT = "LiveKit"
    MATCHING = "Matching"
    ROOM = "Room"
    TIMEOUT = "Timeout"


class Severity(StrEnum):
    """The severity of an error."""

    CRITICAL = "Critical"
    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"
    INFO = "Info"


class Recovery(StrEnum):
    """What Roomkeeper does about an error."""

    RETRY = "Retry"
    FALLBACK = "Fallback"
    RESET = "Reset"
    REQUEUE = "Requeue"
    NOTIFY = "Notify"
    ESCALATE = "Escalate"
    IGNORE = "Ignore"


class LastError(ApiModel):
    """The current error, or else the latest one. Roomkeeper rewrites it only when its type changes."""

    type: ErrorType
    """The source of the error: no connection (Network), no answer in time (Timeout), a backend that refuses (Redis,
    LiveKit; System for Kubernetes), wrong input (Validation), a user, the matching of users, or a room."""

    severity: Severity
    """How severe the error is: Critical if no call can be made, Info if nothing is wrong."""

    recovery: Recovery
    """What Roomkeeper does about the error. Retry: it tries again, after pauses. Fallback: it looks for another
    LiveKit server. Reset: it writes damaged records again. Requeue: both users go back to their places. Notify: it
    tells the users. Escalate: it tries again, but an administrator must act. Ignore: it only counts the error."""

    message: str
    """What went wrong, as a sentence. It never holds credentials."""

    at: Timestamp
    """When an error of this type first occurred."""
