"""The clock of the operator: the API server's time, continued by this machine's monotonic clock.

Deadlines are compared with `creationTimestamp` and with times that other replicas wrote, so the operator never uses the
machine's own wall clock, which may step by minutes. Every answer of the API server carries a `Date`, truncated to the
second: the true time of the answer was in [date, date + 1 s). The intersection of these intervals narrows the offset to
milliseconds within a few answers. An empty intersection means that the server's clock was set: the estimate restarts,
and followers get the size of a large step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol


class Clock(Protocol):
    """The interface of a clock. Tests use a virtual one."""

    def now(self) -> datetime:
        """The current time, in UTC."""
        ...


_DRIFT = 200e-6  # 200 ppm: more than the drift of any clock that NTP controls
_STEP_SECONDS = 10.0  # smaller steps are differences between API servers that take turns, and deadlines tolerate them


class ServerClock:
    """The server's time, from `Date` headers and a monotonic clock."""

    def __init__(self) -> None:
        # Before the first answer, this is the machine's wall clock. The operator decides nothing before the first LIST.
        self._low = self._high = time.time() - time.monotonic()
        self._informed = False
        self._observed_at = 0.0
        self._last_header = ""
        self._last_date = 0.0
        self._told = 0.0
        self._followers: list[Callable[[float], None]] = []

    def follow(self, stepped: Callable[[float], None]) -> None:
        """Register a follower that gets the seconds by which the server's clock was set, once `now` follows it."""
        self._followers.append(stepped)

    def now(self) -> datetime:
        """The current time, in UTC. It never goes back: if the estimate becomes earlier, it stands still."""
        self._told = max(self._told, time.monotonic() + (self._low + self._high) / 2)
        return datetime.fromtimestamp(self._told, UTC)

    def observe(self, date_header: str, sent_monotonic: float, received_monotonic: float) -> None:
        """Store the `Date` header of an answer.

        `sent_monotonic` and `received_monotonic` are the monotonic times, in seconds, of the request and of the answer.
        Malformed headers are ignored.
        """
        if date_header != self._last_header:
            try:
                self._last_date = parsedate_to_datetime(date_header).timestamp()
            except (ValueError, OverflowError, OSError):
                return  # a proxy sent a malformed header: the next answer has another one
            self._last_header = date_header
        date = self._last_date
        low, high = date - received_monotonic, date + 1.0 - sent_monotonic
        if self._informed:
            # The two clocks drift apart, so the older the estimate, the less precise it is.
            drift = (received_monotonic - self._observed_at) * _DRIFT
            low, high = max(low, self._low - drift), min(high, self._high + drift)
        self._observed_at = received_monotonic
        was_informed, before = self._informed, self._low
        if not was_informed or low > high:
            low, high = date - received_monotonic, date + 1.0 - sent_monotonic
        self._low, self._high, self._informed = low, high, True
        if not was_informed or abs(low - before) > _STEP_SECONDS:
            self._told = 0.0
        if was_informed and abs(low - before) > _STEP_SECONDS:
            for stepped in self._followers:
                stepped(low - before)
