"""The one clock at the root: the API server's time, carried on by this machine's monotonic clock.

Deadlines compare with `creationTimestamp` and with what other replicas wrote, so the machine's own wall clock (which
may step by minutes) is never asked. Every answer of the API server carries `Date`, cut to the second: the true time
then was in [date, date + 1 s). Keeping the intersection of those intervals narrows the offset to milliseconds within
a few answers; an empty intersection means that the server's clock was set, and the estimate starts
again. Followers get the size of a large step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol


class Clock(Protocol):
    """What the loop needs of a clock; tests bring a virtual one."""

    def now(self) -> datetime:
        """The moment, in UTC."""
        ...


_DRIFT = 200e-6  # 200 ppm: more than any clock that is kept by NTP
_STEP_SECONDS = 10.0  # less is a difference between API servers that take turns, and nothing that windows cannot bear


class ServerClock:
    """Server time from `Date` headers plus a monotonic clock."""

    def __init__(self) -> None:
        # Until the first answer arrives the machine's wall clock must do; nothing is decided before the first LIST.
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
        """The moment, in UTC. It stands still, and never goes back, where the estimate becomes an earlier one."""
        self._told = max(self._told, time.monotonic() + (self._low + self._high) / 2)
        return datetime.fromtimestamp(self._told, UTC)

    def observe(self, date_header: str, sent_monotonic: float, received_monotonic: float) -> None:
        """Take in the `Date` header of an answer whose request was sent and received at these monotonic seconds."""
        if date_header != self._last_header:
            try:
                self._last_date = parsedate_to_datetime(date_header).timestamp()
            except ValueError:
                return  # a proxy's malformed header: the next answer will do
            self._last_header = date_header
        date = self._last_date
        low, high = date - received_monotonic, date + 1.0 - sent_monotonic
        if self._informed:
            # The two clocks drift apart: what was known is as much less precise as it is old.
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
