"""`python -m benchmarks.failover`: how long no write succeeds while a Redis behind one address fails over.

A client of ours writes every few milliseconds through an address that follows the master. The gap is the time from the
last write before the failover to the first one after it; `after the switch` begins when the address leads to the new
master, so it is what the client adds.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks.redis_pair import HOST, Failover, Pair, Switch
from controller.clients.redis.client import Redis
from controller.errors import BackendError
from sandbox.parts import ensure
from sandbox.progress import Progress

_EVERY_SECONDS = 0.002


@dataclass(frozen=True)
class Gap:
    """One failover, in milliseconds."""

    whole: float
    after_switch: float


class Writer:
    """Writes all the time; knows when a write succeeded last."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.succeeded_at = 0.0
        self._success = asyncio.Event()

    async def run(self) -> None:
        """Write until cancelled."""
        number = 0
        while True:
            number += 1
            try:
                await self._redis.put("failover", str(number))
            except BackendError:
                pass
            else:
                self.succeeded_at = time.monotonic()
                self._success.set()
            await asyncio.sleep(_EVERY_SECONDS)

    async def next_success(self) -> float:
        """Wait for the next write that succeeds; return when it did."""
        self._success.clear()
        await self._success.wait()
        return self.succeeded_at


async def measured(program: Path, how: Failover, count: int) -> list[Gap]:
    """The gaps of so many failovers, one after another."""
    gaps = []
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        async with Pair(program, Path(folder)) as pair, Switch(pair.master) as switch:
            redis = Redis.from_url(f"redis://{HOST}:{switch.port}/0")
            writer = Writer(redis)
            writing = asyncio.create_task(writer.run())
            for _ in range(count):
                await writer.next_success()
                before = writer.succeeded_at
                await pair.fail_over(how, switch)
                switched = time.monotonic()
                # A write that the old master took in its last moment is none of the new one.
                after = await _first_after(writer, switched)
                gaps.append(Gap((after - before) * 1000, (after - switched) * 1000))
                await pair.repair()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await redis.close()
    return gaps


async def _first_after(writer: Writer, moment: float) -> float:
    while (at := await writer.next_success()) <= moment:
        pass
    return at


def main(
    count: Annotated[int, typer.Option(help="failovers of each kind", min=2)] = 30,
) -> None:
    """Print a table in Markdown."""
    program = ensure(["redis-server"], Progress(None))["redis-server"].path
    headings = ("failover", "count", "gap p50", "gap p99", "after the switch p50", "after the switch p99")
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for how in Failover:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            gaps = runner.run(measured(program, how, count))
        cells = [f"{_percentile(values, p):.0f} ms" for values in _columns(gaps) for p in (50, 99)]
        print(f"| {how} | {count} | {' | '.join(cells)} |")


def _columns(gaps: list[Gap]) -> tuple[list[float], list[float]]:
    return [gap.whole for gap in gaps], [gap.after_switch for gap in gaps]


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    typer.run(main)
