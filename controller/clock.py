"""The clock of the operator: the API server's time, continued by this machine's monotonic clock.

Deadlines are compared with `creationTimestamp` and with times that other replicas wrote, so the operator never uses the
machine's own wall clock, which may step by minutes. Every answer of the API server carries a `Date`, truncated to the
second: the true time of the answer was in [date, date + 1 s). The intersection of these intervals narrows the offset to
milliseconds within a few answers. An answer outside the estimate means that the server's clock was set, or that it
comes from another API server whose clock differs. The first is followed, and followers get the size of a large step;
the second is left out, or everything would begin again at each of its answers.
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
_STEP_SECONDS = 10.0  # smaller steps are not reported: deadlines tolerate them
# API servers whose clocks NTP controls differ by less than this, so a clock that jumps by more was set.
_FAR_SECONDS = 60.0
# A clock that was set wrong is corrected once. More steps within this time are servers with different clocks.
_SETS, _SETS_WITHIN_SECONDS = 2, 600.0
# A server that takes turns with another one is contradicted by it within this time.
_PERSISTS_SECONDS = 30.0


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
        self._contradicted_since: float | None = None
        self._steps: list[float] = []
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
        low, high = self._last_date - received_monotonic, self._last_date + 1.0 - sent_monotonic
        if not self._informed:
            self._told, self._informed = 0.0, True
            self._believe(low, high, received_monotonic)
            return
        # The two clocks drift apart, so the older the estimate, the less precise it is.
        drift = (received_monotonic - self._observed_at) * _DRIFT
        common_low, common_high = max(low, self._low - drift), min(high, self._high + drift)
        if common_low <= common_high:
            self._contradicted_since = None
            self._believe(common_low, common_high, received_monotonic)
            return
        step = low - self._low
        if self._is_set(step, received_monotonic):
            self._believe(low, high, received_monotonic)
            self._follow_step(step, received_monotonic)

    def _believe(self, low: float, high: float, at: float) -> None:
        self._low, self._high, self._observed_at = low, high, at

    def _is_set(self, step: float, at: float) -> bool:
        """Whether an answer outside the estimate shows that the clock was set, and does not come from another server.

        A leap is believed at once. Otherwise, or if the clock leaps again and again, no answer may have agreed with the
        estimate for a while.
        """
        self._steps = [moment for moment in self._steps if at - moment < _SETS_WITHIN_SECONDS]
        if abs(step) > _FAR_SECONDS and len(self._steps) < _SETS:
            return True
        if self._contradicted_since is None:
            self._contradicted_since = at
        return at - self._contradicted_since >= _PERSISTS_SECONDS

    def _follow_step(self, step: float, at: float) -> None:
        self._contradicted_since = None
        if abs(step) <= _STEP_SECONDS:
            return
        self._told = 0.0
        self._steps.append(at)
        for stepped in self._followers:
            stepped(step)
