"""How a status shows the error of a backend: type, severity, recovery and a sentence. Pure."""

from __future__ import annotations

from datetime import datetime

from controller.api.failures import ErrorType, LastError, Recovery, Severity
from controller.errors import Backend, BackendError, BackendUnavailable, Forbidden, PoolClosed, StateLost

_TYPES = {
    Backend.KUBERNETES: ErrorType.SYSTEM,
    Backend.LIVEKIT: ErrorType.LIVEKIT,
    Backend.REDIS: ErrorType.REDIS,
}


def last_error(error: BackendError, now: datetime) -> LastError:
    """The entry for `status.lastError`."""
    severity, recovery = Severity.MEDIUM, Recovery.RETRY
    if isinstance(error, StateLost | PoolClosed | Forbidden):
        severity, recovery = Severity.HIGH, Recovery.ESCALATE
    elif not isinstance(error, BackendUnavailable) and not error.retryable:
        severity, recovery = Severity.HIGH, Recovery.NOTIFY
    return LastError(
        type=_TYPES.get(Backend(error.backend), ErrorType.SYSTEM),
        severity=severity,
        recovery=recovery,
        message=error.sentence,
        at=now.replace(microsecond=now.microsecond // 1000 * 1000),
    )
