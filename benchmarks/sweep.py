"""`python -m benchmarks.sweep`: what a deep sweep beside them costs claims, on a Redis with a million keys.

Calls are claimed and settled at a steady rate on the event loop on which the sweep works too, as in the operator.
Periods with and without the sweep take turns, so that noise affects both alike. Every key is a waiting user, the most
expensive kind: it has no TTL, so the sweep reads and judges it. Neighbors: `controller.backends.leftovers` finds,
`controller.triggers.sweep` has the pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from controller.api.match import Match
from controller.backends.leftovers import Finder, SweepRules
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.requests import Claimant, ClaimRequest, SettleRequest
from controller.clock import ServerClock
from controller.facts.ledger import Cause, Destination, Release
from controller.triggers.deep_sweep import PAUSE_SECONDS
from controller.views.cache import ObjectCache
from sandbox.ports import PortLocks
from sandbox.redis_nodes import Node

_CLUSTER: Final = "bench"
_POOLS: Final = 10
_AT_ONCE: Final = 10_000
_BATCH: Final = 100
_WRITE: Final = """
for n = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local id = 'user-' .. n
  redis.call('HSET', ARGV[1] .. 'user:' .. id, 'state', 'WAITING', 'match', '', 'matchName', '', 'since', ARGV[4],
    'queuedAt', ARGV[4], 'session', '', 'seq', 1, 'epoch', 1)
  redis.call('ZADD', ARGV[1] .. 'queue', ARGV[4] + n, id)
end
"""


@dataclass
class Period:
    """What was measured in all periods of one kind: the times of claims in milliseconds, and the keys looked at."""

    claims: list[float] = field(default_factory=list)
    keys: int = 0

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.claims)

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return statistics.quantiles(self.claims, n=100, method="inclusive")[98]


class Claims:
    """Calls of two users each, claimed and settled one after another at a rate."""

    def __init__(self, redis: Redis, per_second: float) -> None:
        self._redis = redis
        self._per_second = per_second
        self._number = 0

    async def run(self, seconds: float, into: Period) -> None:
        """Make calls for so long."""
        pool = Pool(self._redis, Keys(_CLUSTER, "calls"), 0, 1)
        pool = pool.at(await pool.ensure_incarnation())
        loop = asyncio.get_running_loop()
        until, due = loop.time() + seconds, loop.time()
        while loop.time() < until:
            self._number += 1
            await self._one(pool, into)
            due += 1 / self._per_second
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _one(self, pool: Pool, into: Period) -> None:
        uid, users = f"u{self._number}", (f"a{self._number}", f"b{self._number}")
        began, now_ms = time.perf_counter(), round(time.time() * 1000)
        request = ClaimRequest(uid, uid, uid, tuple(Claimant(user) for user in users))
        await pool.claim(request, now_ms=now_ms)
        into.claims.append((time.perf_counter() - began) * 1000)
        freed = tuple(Release(user, Destination.IDLE) for user in users)
        await pool.settle(SettleRequest(uid, uid, freed, Cause("Ended")), now_ms=now_ms)


async def sweep(finder: Finder, into: Period) -> None:
    """A deep sweep after the other, at the pace of the operator, until cancelled."""
    cursor = "0"
    while True:
        scanned = await finder.scan(cursor)
        for keys, names in scanned.pools.items():
            await finder.judged(keys, names)
        into.keys += scanned.keys
        cursor = scanned.cursor
        await asyncio.sleep(PAUSE_SECONDS)


async def measured(url: str, seconds: float, rounds: int, per_second: float) -> tuple[Period, Period]:
    """The claims without a sweep, and those beside one."""
    redis = Redis.from_url(url)
    rules = SweepRules((), 86_400, _BATCH, 90.0, tells=True)
    finder = Finder(redis, _CLUSTER, rules, ObjectCache(Match), ServerClock())
    claims, alone, beside = Claims(redis, per_second), Period(), Period()
    await claims.run(2.0, Period())
    for _ in range(rounds):
        await claims.run(seconds, alone)
        sweeping = asyncio.create_task(sweep(finder, beside))
        await claims.run(seconds, beside)
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
    await redis.close()
    return alone, beside


def fill(node: Node, count: int) -> None:
    """Write so many keys: users who wait, in ten pools."""
    now_ms = round(time.time() * 1000)
    per_pool = count // _POOLS
    for number in range(_POOLS):
        prefix = Keys(_CLUSTER, f"pool-{number}").prefix
        for first in range(0, per_pool, _AT_ONCE):
            node("EVAL", _WRITE, 0, prefix, first, min(first + _AT_ONCE, per_pool) - 1, now_ms)


def main(
    keys: Annotated[int, typer.Option(help="keys in Redis", min=1000)] = 1_000_000,
    seconds: Annotated[float, typer.Option(help="length of one period", min=1)] = 15.0,
    rounds: Annotated[int, typer.Option(help="periods of each kind", min=1)] = 3,
    per_second: Annotated[float, typer.Option(help="claims per second", min=1)] = 200.0,
) -> None:
    """Print a table in Markdown."""
    ports = PortLocks()
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        node = Node(Path(folder), ports.take(), "--save", "", "--appendonly", "no")
        node.start()
        try:
            fill(node, keys)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(measured(f"redis://{node.address}/0", seconds, rounds, per_second))
        finally:
            node.stop()
            ports.release()
    alone, beside = found
    print("| claims | count | p50 | p99 | keys looked at |\n|---|---|---|---|---|")
    for what, period in (("without a sweep", alone), ("beside a deep sweep", beside)):
        cells = (str(len(period.claims)), f"{period.p50:.2f} ms", f"{period.p99:.2f} ms", str(period.keys))
        print(f"| {what} | {' | '.join(cells)} |")
    print(f"\n{keys} keys; p99 beside / without: {beside.p99 / alone.p99:.2f}")


if __name__ == "__main__":
    typer.run(main)
