"""`python -m benchmarks.failovers`: how long Redis cannot be used when its master dies.

Each failover kills the master of a set of real servers with SIGKILL: once of a master and a replica behind three
sentinels, once of a cluster of three masters with a replica each. The operator's own client runs a script in one pool
again and again. The gap is the time from the kill to the next answer; most of it is what the servers need to notice and
to elect, which their own settings say. What the client adds is the time from the promotion to the next answer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
import uvloop

from benchmarks.figures import percentile
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.errors import BackendUnavailable
from sandbox.interrupts import terminate_as_interrupt
from sandbox.progress import Progress
from sandbox.redis_nodes import Cluster, Node, Sentinels, running, until

_KEYS = Keys("bench", "failovers")
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Failover:
    """One failover, in milliseconds: from the kill to the next answer, and from the promotion to the next answer."""

    gap_ms: float
    after_promotion_ms: float


@contextmanager
def _sentinels() -> Iterator[tuple[str, Sentinels]]:
    with running(Sentinels) as nodes:
        yield nodes.url, nodes


@contextmanager
def _cluster() -> Iterator[tuple[str, Cluster]]:
    with running(Cluster) as nodes:
        yield nodes.url, nodes


async def _measure(nodes: Sentinels | Cluster, pool: Pool, count: int) -> list[Failover]:
    found = []
    for _ in range(count):
        if isinstance(nodes, Sentinels):
            master, successor = nodes.master, nodes.replica
        else:
            master = nodes.owner(_KEYS.queue())
            successor = nodes.replica_of(master)
        found.append(await _fail_over(pool, master, successor))
        if isinstance(nodes, Sentinels):
            await asyncio.to_thread(nodes.await_promotion, successor)
            await asyncio.to_thread(nodes.rejoin, master)
        else:
            await asyncio.to_thread(master.start)
            await asyncio.to_thread(nodes.await_health)
    return found


async def _fail_over(pool: Pool, master: Node, successor: Node) -> Failover:
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
    return Failover((answered - killed) * 1000, max(0.0, answered - promoted) * 1000)


def _promoted(successor: Node) -> float:
    until(lambda: successor.is_master, every_seconds=0.002)
    return time.monotonic()


def _line(what: str, found: Sequence[Failover]) -> str:
    gaps, added = [one.gap_ms for one in found], [one.after_promotion_ms for one in found]
    numbers = [percentile(values, share) for values in (gaps, added) for share in (0.5, 0.99)]
    return "| " + " | ".join((what, *(f"{number:.0f}" for number in numbers), str(len(found)))) + " |"


async def _run(count: int) -> None:
    progress = Progress(sys.stderr)
    print("| Redis | gap p50 ms | gap p99 ms | after the promotion p50 ms | p99 ms | failovers |")
    print("|---|---|---|---|---|---|")
    for what, open_nodes in (("three sentinels", _sentinels), ("a cluster of three masters", _cluster)):
        began = time.monotonic()
        with open_nodes() as (url, nodes):
            redis = Redis.from_url(url)
            found = await _measure(nodes, Pool(redis, _KEYS, 0, 1), count)
            await redis.close()
        progress.done(what, f"{count} failovers", time.monotonic() - began)
        print(_line(what, found), flush=True)


def main(count: Annotated[int, typer.Option(help="failovers of each kind", min=1)] = 12) -> None:
    """Kill masters of Redis, and measure how long it cannot be used."""
    with terminate_as_interrupt(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(count))


if __name__ == "__main__":
    typer.run(main)
