"""The parts of a call's life, and how much of each is measured. Each part starts its operator and cleans up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from enum import StrEnum

import aiohttp

from benchmarks.access import Access
from benchmarks.cluster import Harness
from benchmarks.figures import (
    CapacityFigures,
    LifeFigures,
    Measure,
    Samples,
    Subject,
    latencies_ms,
    percentile,
    rate_per_second,
)
from benchmarks.life import capacity, heartbeats, people, restores, signals, terminations, webhooks
from benchmarks.life.cycles import Cycles
from benchmarks.life.scene import Scene, scene
from benchmarks.life.sight import GONE, Sight
from benchmarks.load import Batch, Until
from benchmarks.measure import REST_SECONDS, Case, During, cpu_ms_per_creation, nothing, process_cpu_ms
from benchmarks.operators import OURS, Tree
from benchmarks.subjects import Running, running
from sandbox.stack import Stack

# The load itself sends two requests per Match: the POST, and the wish that ends it.
_CALLS_OF_THE_LOAD = 2


class Part(StrEnum):
    """What can be measured alone."""

    WEBHOOKS = "webhooks"
    PEOPLE = "people"
    HEARTBEATS = "heartbeats"
    SIGNALS = "signals"
    TERMINATIONS = "terminations"
    RESTORES = "restores"
    CYCLES = "cycles"


@dataclass(frozen=True)
class Sizes:
    """How many calls each part gets. `signals` counts those after the warm-up; `restores` is how often LiveKit dies."""

    webhooks: int
    leaves: int
    kills: int
    heartbeats: int
    signals: int
    terminations: int
    restores: int
    cycles: tuple[Case, ...]
    calls_per_second: float = 20.0

    def changed(self, in_flight: list[int] | None, matches: int | None) -> Sizes:
        """Return the sizes with other numbers in flight for the cycles, and with `matches` calls for each part."""
        known, largest = {case.in_flight: case for case in self.cycles}, self.cycles[-1]
        cycles = tuple(
            known.get(number) or replace(largest, in_flight=number, warm_up=number) for number in in_flight or known
        )
        if matches is None:
            return replace(self, cycles=cycles)
        cycles = tuple(replace(case, count=matches, warm_up=min(case.warm_up, matches)) for case in cycles)
        return Sizes(matches, matches, matches, matches, matches, matches, matches, cycles, self.calls_per_second)


FULL = Sizes(60, 10, 6, 16, 400, 40, 9, (Case(1, 5, 40, 15.0), Case(16, 32, 400, 15.0)))
QUICK = Sizes(15, 2, 2, 6, 120, 10, 3, (Case(1, 3, 10, 8.0), Case(16, 16, 64, 8.0)))


class Life:
    """A running stack on which part after part is measured."""

    def __init__(
        self, stack: Stack, access: Access, admin: aiohttp.ClientSession, harness: Harness, tree: Tree = OURS
    ) -> None:
        self._tree = tree
        self._stack = stack
        self._access = access
        self._admin = admin
        self._harness = harness

    async def latencies(self, part: Part, sizes: Sizes) -> tuple[LifeFigures, ...]:
        """Measure one part of Roomkeeper."""
        match part:
            case Part.WEBHOOKS:
                async with self._scene() as at:
                    return _figures(await webhooks.measure(at, sizes.webhooks))
            case Part.PEOPLE:
                async with self._scene(tapped=True) as at:
                    return _figures(await people.measure(at, sizes.leaves, sizes.kills))
            case Part.HEARTBEATS:
                async with self._scene(settings=heartbeats.SETTINGS) as at:
                    return _figures(await heartbeats.measure(at, sizes.heartbeats))
            case Part.SIGNALS:
                async with self._scene() as at:
                    return _figures(*await signals.measure(at, sizes.signals, sizes.calls_per_second))
            case Part.TERMINATIONS:
                async with self._scene(tapped=True) as at:
                    return _figures(await terminations.measure(at, sizes.terminations))
            case Part.RESTORES:
                async with self._scene() as at:
                    return _figures(await restores.measure(at, self._stack, sizes.restores))
            case Part.CYCLES:
                raise ValueError("cycles have several subjects: use `cycle`")

    async def capacity(self, levels: capacity.Levels) -> tuple[CapacityFigures, ...]:
        """Measure what Roomkeeper needs while so many Matches are up."""
        async with self._scene() as at:
            return await capacity.measure(at, levels)

    async def cycle(self, subject: Subject, case: Case, during: During = nothing) -> LifeFigures:
        """Measure full cycles of one subject."""
        try:
            async with (
                Sight(self._access, self._stack.endpoints.log_directory) as sight,
                running(subject, self._stack, self._access, self._admin, _unused_ready, self._tree) as at_work,
            ):
                cycles = Cycles(self._access, self._admin, sight)
                ours = replace(at_work, creator=cycles) if subject is Subject.ROOMKEEPER else at_work
                return await self._cycle(subject, case, ours, sight, during)
        finally:
            await self._harness.clean()

    async def _cycle(self, subject: Subject, case: Case, at_work: Running, sight: Sight, during: During) -> LifeFigures:
        async def run(first: int, count: int) -> tuple[dict[str, int], dict[str, int]]:
            batch = Batch(first, count, case.in_flight, case.seconds, Until.DELETED)
            sent = await at_work.creator.run(batch)
            return sent, {name: await sight.when(name, GONE) for name in sent}

        await run(0, case.warm_up)
        await asyncio.sleep(REST_SECONDS)
        writes, cpu_ms = await self._harness.api_writes(), process_cpu_ms(at_work.pid)
        async with during(at_work.pid):
            sent, gone = await run(case.warm_up, case.count)
        await asyncio.sleep(REST_SECONDS)
        cpu_ms = (process_cpu_ms(at_work.pid) - cpu_ms) / len(sent)
        writes = await self._harness.api_writes() - writes
        await self._harness.expect_nothing_left()
        if subject is Subject.FLOOR:
            cpu_ms -= _CALLS_OF_THE_LOAD * await cpu_ms_per_creation(at_work, case)
        milliseconds = latencies_ms(sent, gone)
        return LifeFigures(
            subject=subject,
            measure=Measure.CYCLE,
            in_flight=case.in_flight,
            count=len(sent),
            rate_per_s=rate_per_second(sent, gone),
            p50_ms=percentile(milliseconds, 0.5),
            p99_ms=percentile(milliseconds, 0.99),
            cpu_ms_per_match=cpu_ms,
            api_writes_per_match=writes / len(sent) - _CALLS_OF_THE_LOAD,
        )

    @contextlib.asynccontextmanager
    async def _scene(self, *, tapped: bool = False, settings: dict[str, str] | None = None) -> AsyncIterator[Scene]:
        try:
            async with scene(self._stack, self._access, self._admin, tapped=tapped, settings=settings) as at:
                yield at
        finally:
            await self._harness.clean()


def _figures(samples: Samples, rate_per_s: float | None = None) -> tuple[LifeFigures, ...]:
    return tuple(LifeFigures.of(measure, found, rate_per_s) for measure, found in samples.items())


async def _unused_ready(_name: str) -> None:
    """Do nothing: the creator that would wait for this is not used."""
