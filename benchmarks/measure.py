"""One measurement: warm-up, a fixed number of Matches, and what they cost.

The clock starts just before a Match's POST is sent and stops when the bytes of its Ready event reach the watcher. CPU
time and API writes are read before and after, when nothing happens any longer, so that late work counts as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import aiohttp

from benchmarks.access import Access
from benchmarks.cluster import Harness
from benchmarks.figures import Figures, Subject, latencies_ms, percentile, rate_per_second
from benchmarks.load import Batch, Until
from benchmarks.operators import OURS, Tree
from benchmarks.subjects import Running, running
from benchmarks.watcher import Watcher
from sandbox.stack import Stack

REST_SECONDS = 0.6
_MOST_CREATIONS = 100
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """How much load: `count` Matches after `warm_up` others, `in_flight` at once, `seconds` at most."""

    in_flight: int
    warm_up: int
    count: int
    seconds: float = 60.0


During: TypeAlias = Callable[[int], contextlib.AbstractAsyncContextManager[None]]
"""Something that runs while Matches are measured (a profiler). It gets the subject's process id."""


@contextlib.asynccontextmanager
async def nothing(_pid: int) -> AsyncIterator[None]:
    """Run nothing while Matches are measured."""
    yield


class Bench:
    """A running stack on which subject after subject is measured."""

    def __init__(
        self, stack: Stack, access: Access, admin: aiohttp.ClientSession, harness: Harness, tree: Tree = OURS
    ) -> None:
        self._tree = tree
        self._stack = stack
        self._access = access
        self._admin = admin
        self._harness = harness

    async def measure(self, subject: Subject, case: Case, during: During = nothing) -> Figures:
        """Start the subject, measure it, stop it, and clean up."""
        try:
            async with (
                Watcher(self._access, self._stack.endpoints.log_directory) as watcher,
                running(subject, self._stack, self._access, self._admin, watcher.ready, self._tree) as at_work,
            ):
                return await self._measure(subject, case, at_work, watcher, during)
        finally:
            await self._harness.clean()

    async def _measure(
        self, subject: Subject, case: Case, at_work: Running, watcher: Watcher, during: During
    ) -> Figures:
        warm_up = Batch(0, case.warm_up, case.in_flight, case.seconds)
        await watcher.all_ready(await at_work.creator.run(warm_up))
        await asyncio.sleep(REST_SECONDS)
        writes, cpu_ms = await self._harness.api_writes(), process_cpu_ms(at_work.pid)
        async with during(at_work.pid):
            sent = await at_work.creator.run(Batch(case.warm_up, case.count, case.in_flight, case.seconds))
            ready = await watcher.all_ready(sent)
        await asyncio.sleep(REST_SECONDS)
        count = len(sent)
        cpu_ms = process_cpu_ms(at_work.pid) - cpu_ms
        writes = await self._harness.api_writes() - writes - count
        cpu_ms_per_match = cpu_ms / count
        if subject is Subject.FLOOR:
            cpu_ms_per_match -= await cpu_ms_per_creation(at_work, case)
        milliseconds = latencies_ms(sent, ready)
        return Figures(
            subject=subject,
            in_flight=case.in_flight,
            rate_per_s=rate_per_second(sent, ready),
            p50_ms=percentile(milliseconds, 0.5),
            p99_ms=percentile(milliseconds, 0.99),
            cpu_ms_per_match=cpu_ms_per_match,
            api_writes_per_match=writes / count,
        )


async def cpu_ms_per_creation(at_work: Running, case: Case) -> float:
    """Measure what creating a Match costs. Only the floor does this itself, so it is taken off the floor's CPU."""
    before = process_cpu_ms(at_work.pid)
    first = case.warm_up + case.count
    batch = Batch(first, min(case.count, _MOST_CREATIONS), case.in_flight, case.seconds, Until.CREATED)
    sent = await at_work.creator.run(batch)
    return (process_cpu_ms(at_work.pid) - before) / len(sent)


def process_cpu_ms(pid: int) -> float:
    """Return the user and system time of a process so far."""
    # The name in parentheses may hold blanks and parentheses of its own: count from the last one.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) * 1000 / _TICKS_PER_SECOND
