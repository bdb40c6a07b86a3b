"""Errors as the status of a resource shows them: what failed, how bad it is, what is done about it."""

from enum import StrEnum

from controller.api.meta import ApiModel, Timestamp


class ErrorType(StrEnum):
    """Where an error comes from."""

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
    """How bad an error is."""

    CRITICAL = "Critical"
    HIGH = "High"
    MEDIUM = "Medium"
    LOW = "Low"
    INFO = "Info"


class Recovery(StrEnum):
    """What is done about an error."""

    RETRY = "Retry"
    FALLBACK = "Fallback"
    RESET = "Reset"
    REQUEUE = "Requeue"
    NOTIFY = "Notify"
    ESCALATE = "Escalate"
    IGNORE = "Ignore"


class LastError(ApiModel):
    """The error that blocks progress now, or did last. It is rewritten only when its type changes."""

    type: ErrorType
    """Where the error comes from."""

    severity: Severity
    """How bad it is."""

    recovery: Recovery
    """What Roomkeeper does about it."""

    message: str
    """What went wrong, as a sentence. It never holds credentials."""

    at: Timestamp
    """When an error of this type first occurred."""
