"""How a status shows an error: its row of the table of errors, and the sentence of what failed. Pure."""

from __future__ import annotations

from datetime import datetime

from controller.api.failures import LastError
from controller.errors import BackendError
from controller.rules.failures import classify


def last_error(error: BackendError, now: datetime) -> LastError | None:
    """The entry for `status.lastError`; None for an error that is only counted."""
    verdict = classify(error)
    failure = verdict.failure
    if not verdict.is_news:
        return None
    return LastError(
        type=failure.type,
        severity=failure.severity,
        recovery=failure.recovery,
        message=error.sentence,
        at=now.replace(microsecond=now.microsecond // 1000 * 1000),
    )
