"""Counts the users of all open pools for the metrics: how many wait, since when, and how many are in a Match.

The leader alone counts, so that a sum over replicas is right. A pool that does not answer keeps its last numbers for
the sum. Neighbors: `clients.redis.people` reads one pool, `backends.pools` says which are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial

from controller.backends.pools import Pools
from controller.clients.redis.people import People, people
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.side_by_side import side_by_side

_INTERVAL_SECONDS = 10.0
_PEOPLE_PER_MATCH = 2


class PeopleCounter:
    """Counts at intervals, and shows nothing once its replica no longer leads."""

    def __init__(self, pools: Pools, now: Callable[[], datetime]) -> None:
        self._pools = pools
        self._now = now
        self._known: dict[str, People] = {}

    async def run(self, pulse: Pulse) -> None:
        """Count until cancelled."""
        try:
            while True:
                await self.count(pulse)
                await asyncio.sleep(_INTERVAL_SECONDS)
        finally:
            self.end()

    def end(self) -> None:
        """Show no users any longer: another replica counts them."""
        self._known = {}
        self._show()

    async def count(self, pulse: Pulse) -> None:
        """One round over all open pools."""
        pulse.beat()
        namespaces = self._pools.namespaces()
        self._known = {of: known for of, known in self._known.items() if of in namespaces}
        await side_by_side(partial(self._count, pulse), namespaces)
        self._show()

    async def _count(self, pulse: Pulse, namespace: str) -> None:
        pulse.beat()
        with pulse.item("to count the users of a pool", namespace=namespace):
            pool = self._pools.unbound(namespace)
            self._known[namespace] = await people(pool.redis, pool.keys)

    def _show(self) -> None:
        pools = tuple(self._known.values())
        metrics.people.labels("waiting").set(sum(pool.waiting for pool in pools))
        metrics.people.labels("reserved").set(sum(pool.reserved for pool in pools))
        metrics.people.labels("in_match").set(_PEOPLE_PER_MATCH * sum(pool.matches for pool in pools))
        first = min((pool.first_ms for pool in pools if pool.first_ms is not None), default=None)
        age_seconds = 0.0 if first is None else max(0.0, self._now().timestamp() - first / 1000)
        metrics.oldest_waiter_seconds.set(age_seconds)
