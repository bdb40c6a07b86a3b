"""Wakes all keys when Redis has been away for long: calls in which nothing happens have to say so too.

Keys that need Redis for what they do find out by themselves; those of a quiet call would show their last state as if it
were current. They wait for Redis from then on, so `loop.waiting` wakes them when it answers again. `triggers.poll` does
the same for the Rooms of a LiveKit server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controller.clients.breaker import Breaker, BreakerState
from controller.rules.stale import STALE_AFTER


class OutageWatch:
    """Calls `stale` once in each outage of the breaker that lasts for longer than `STALE_AFTER`."""

    def __init__(self, breaker: Breaker, stale: Callable[[], None]) -> None:
        self._breaker = breaker
        self._stale = stale
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Callable[[], None]:
        """Begin, also in the middle of an outage. Returns a function that ends this."""
        unfollow = self._breaker.follow(self._changed)
        self._changed(self._breaker.state)

        def end() -> None:
            unfollow()
            self._cancel()

        return end

    def _changed(self, state: BreakerState) -> None:
        if state is BreakerState.CLOSED:
            self._cancel()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STALE_AFTER.total_seconds(), self._stale)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
