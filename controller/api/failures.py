"""Errors as they appear in the status of a resource: what failed, how severe it is, and what Roomkeeper does."""

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
    """The source of the error: System (Kubernetes), LiveKit or Redis. The other types are not served yet."""

    severity: Severity
    """How severe the error is: Medium if Roomkeeper retries, otherwise High. The other severities are not served
    yet."""

    recovery: Recovery
    """What Roomkeeper does about the error. Retry: it tries again, after pauses. Notify: it only reports the error,
    since trying again would not help. Escalate: an administrator must act. The others are not served yet."""

    message: str
    """What went wrong, as a sentence. It never holds credentials."""

    at: Timestamp
    """When an error of this type first occurred."""
