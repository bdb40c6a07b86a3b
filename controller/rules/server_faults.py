"""What is wrong with a LiveKit server that cannot be used: from the error of a request to a word for people. Pure.

Neighbors: `backends.servers` asks, `status.server` puts the word into the condition Ready.
"""

from __future__ import annotations

from controller.api.conditions import ConditionReason
from controller.errors import BackendError, Code, Forbidden, Untrusted
from controller.facts.server import CLOCK_LEEWAY_SECONDS, Health


def fault_of(error: BackendError | None, health: Health) -> ConditionReason:
    """The kind of trouble that an error of a request shows. LiveKit refuses a wrong key and a wrong clock alike."""
    if isinstance(error, Untrusted):
        return ConditionReason.CERTIFICATE
    if isinstance(error, Forbidden):
        ahead = health.clock_ahead_seconds
        is_skewed = ahead is not None and abs(ahead) > CLOCK_LEEWAY_SECONDS
        return ConditionReason.CLOCK_SKEW if is_skewed else ConditionReason.WRONG_KEY
    if error is None or error.code in {Code.TIMEOUT, Code.UNREACHABLE}:
        return ConditionReason.UNREACHABLE
    return ConditionReason.WRONG_URL if error.code in {"404", Code.MALFORMED} else ConditionReason.FAILING
