"""Redis with sentinels, and as a cluster: how long a pool cannot be used when its master is killed.

The operator's own client runs a script in one pool again and again. Most of a gap is what the servers need to notice
and to elect: half a second until a master counts as down behind sentinels, and a second in a cluster. Neighbors:
`sandbox.redis_nodes` and `sandbox.redis_cluster` have the servers, `failover` prints what is measured here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.errors import BackendUnavailable
from sandbox.redis_cluster import Cluster
from sandbox.redis_nodes import Node, Sentinels, running, until

_KEYS: Final = Keys("bench", "failovers")
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Gap:
    """One failover, in milliseconds: from its begin to the next success, and from the promotion to it."""

    whole: float
    after_switch: float


async def behind_sentinels(count: int) -> list[Gap]:
    """Kill the master of three sentinels so many times."""
    gaps = []
    with running(Sentinels) as nodes:
        redis = Redis.from_url(nodes.url)
        for _ in range(count):
            master, successor = nodes.master, nodes.replica
            gaps.append(await _fail_over(redis, master, successor))
            await asyncio.to_thread(nodes.await_promotion, successor)
            await asyncio.to_thread(nodes.rejoin, master)
        await redis.close()
    return gaps


async def in_a_cluster(count: int) -> list[Gap]:
    """Kill the master that has the pool, of a cluster of three, so many times."""
    gaps = []
    with running(Cluster) as nodes:
        redis = Redis.from_url(nodes.url)
        for _ in range(count):
            master = nodes.owner(_KEYS.queue())
            gaps.append(await _fail_over(redis, master, nodes.replica_of(master)))
            await asyncio.to_thread(master.start)
            await asyncio.to_thread(nodes.await_health)
        await redis.close()
    return gaps


KILLED: Final[Mapping[str, Callable[[int], Awaitable[list[Gap]]]]] = {
    "killed, three sentinels": behind_sentinels,
    "killed, cluster of three masters": in_a_cluster,
}
"""What is measured, by its name in the table."""


async def _fail_over(redis: Redis, master: Node, successor: Node) -> Gap:
    pool = Pool(redis, _KEYS, 0, 1)
    await pool.ensure_incarnation()
    promotion = asyncio.create_task(asyncio.to_thread(_promoted, successor))
    master.stop()
    killed = time.monotonic()
    while True:
        try:
            await pool.ensure_incarnation()
        except BackendUnavailable:
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            break
    answered = time.monotonic()
    promoted = await promotion
    return Gap((answered - killed) * 1000, max(0.0, answered - promoted) * 1000)


def _promoted(successor: Node) -> float:
    until(lambda: successor.is_master, every_seconds=0.002)
    return time.monotonic()
