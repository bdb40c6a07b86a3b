"""The circuit breaker of one backend, or of one LiveKit server: whether a request is worth sending. Pure.

A breaker opens when several requests in a row have failed and none was answered for some seconds. While it is open, no
request is sent but one probe at a time: the first request that comes after a pause. The pauses grow with the outage, so
a short outage is noticed at once and a long one costs little. Any answer closes the breaker, a refusal too. Times are
seconds of a monotonic clock, which the caller reads. Neighbors: `clients.request` asks before each request and reports
its end; `loop.waiting` keeps the keys that wait for a breaker.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from controller.errors import Backend, BackendError


class BreakerState(IntEnum):
    """The states, with the values of `roomkeeper_breaker_state`."""

    CLOSED = 0
    """Requests are sent."""
    HALF_OPEN = 1
    """One request is under way as a probe; no other one is sent."""
    OPEN = 2
    """No request is sent before the pause is over."""


class Ticket(Enum):
    """How a request was let through. It is handed back with the end of the request."""

    ORDINARY = "ordinary"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When a breaker opens, and how long its pauses are.

    It opens after `failures` in a row, if nothing was answered for `silent_seconds`: readers that ask at intervals get
    an answer within that time from a backend that refuses only some requests. A pause is `share` of the outage so far,
    within its two bounds, with a quarter of jitter.
    """

    silent_seconds: float
    longest_pause_seconds: float
    failures: int = 3
    first_pause_seconds: float = 0.05
    share: float = 0.05


RULES: Final[Mapping[Backend, BreakerRule]] = {
    # The lease is renewed every 3 s, LiveKit's rooms are listed every 2 s, the streams of Redis are read every second.
    Backend.KUBERNETES: BreakerRule(silent_seconds=5.0, longest_pause_seconds=1.0),
    Backend.LIVEKIT: BreakerRule(silent_seconds=3.0, longest_pause_seconds=2.0),
    Backend.REDIS: BreakerRule(silent_seconds=2.0, longest_pause_seconds=1.0),
}
_JITTER: Final = 0.25


class Breaker:
    """The state machine. `failure` is the latest failure since the last answer; None if there is none.

    `failing_since` is since when no request was answered: the last answer, or the moment at which the first request
    was sent that has failed since, whichever is later.
    """

    def __init__(self, rule: BreakerRule, rng: random.Random | None = None) -> None:
        self._rule = rule
        self._rng = rng or random.Random()  # noqa: S311 (spreads load; no secret depends on it)
        self.state = BreakerState.CLOSED
        self.failing_since: float | None = None
        self._answered_at = -math.inf
        self.failure: BackendError | None = None
        self._failures = 0
        self._pause_until = 0.0
        self._followers: list[Callable[[BreakerState], None]] = []

    @property
    def answered_at(self) -> float:
        """When the last request was answered; minus infinity before the first."""
        return self._answered_at

    @property
    def is_closed(self) -> bool:
        """Whether requests are sent as they come."""
        return self.state is BreakerState.CLOSED

    def follow(self, changed: Callable[[BreakerState], None]) -> Callable[[], None]:
        """Call `changed` with each new state. Returns a function that ends this."""
        self._followers.append(changed)
        return lambda: self._followers.remove(changed)

    def enter(self, now: float) -> Ticket | None:
        """Let a request through, or return None: it must not be sent. A probe must be reported, whatever its end."""
        if self.state is BreakerState.CLOSED:
            return Ticket.ORDINARY
        if self.state is BreakerState.OPEN and now >= self._pause_until:
            self._become(BreakerState.HALF_OPEN)
            return Ticket.PROBE
        return None

    def answered(self, now: float) -> None:
        """The backend answered a request, whatever the answer was."""
        self._answered_at = now
        if self.failure is None:
            return
        self._failures, self.failing_since, self.failure = 0, None, None
        self._become(BreakerState.CLOSED)

    def failed(self, failure: BackendError, ticket: Ticket, *, sent_at: float, now: float) -> None:
        """A request that was sent at `sent_at` has not been answered."""
        self._failures += 1
        self.failure = failure
        if self.failing_since is None:
            # A request that hangs may have been sent before others were answered.
            self.failing_since = max(sent_at, self._answered_at)
        if self.state is BreakerState.CLOSED:
            silent_seconds = now - self.failing_since
            if self._failures >= self._rule.failures and silent_seconds >= self._rule.silent_seconds:
                self._open(now)
        elif ticket is Ticket.PROBE and self.state is BreakerState.HALF_OPEN:
            self._open(now)

    def abandoned(self, ticket: Ticket, now: float) -> None:
        """The caller of a request has given it up, so nothing is known about its end: the next one may be the probe."""
        if ticket is Ticket.PROBE and self.state is BreakerState.HALF_OPEN:
            self._pause_until = now
            self._become(BreakerState.OPEN)

    def pause_seconds(self, now: float) -> float:
        """How long until the next probe may be sent. While a probe is under way, the shortest pause."""
        if self.state is BreakerState.HALF_OPEN:
            return self._rule.first_pause_seconds
        return max(0.0, self._pause_until - now)

    def usual_pause_seconds(self, now: float) -> float:
        """How long a pause is that begins now, without its jitter: for requests that are sent while it is open."""
        rule, since = self._rule, self.failing_since
        share_seconds = rule.share * (now - since) if since is not None else 0.0
        return min(max(rule.first_pause_seconds, share_seconds), rule.longest_pause_seconds)

    def _open(self, now: float) -> None:
        self._pause_until = now + self.usual_pause_seconds(now) * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
        self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> None:
        if state is not self.state:
            self.state = state
            for changed in tuple(self._followers):
                changed(state)
