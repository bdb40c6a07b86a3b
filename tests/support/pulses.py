"""The pulse of a loop that a test runs by itself, without a supervisor."""

from __future__ import annotations

from controller.errors import BackendError, LeadershipLost
from controller.telemetry.pulse import LoopName, Pulse


def a_pulse(name: LoopName = LoopName.POLL, limit_seconds: float = 60.0) -> Pulse:
    """Return a pulse like those that the supervisor hands out."""
    return Pulse(name, limit_seconds, (BackendError, LeadershipLost))
