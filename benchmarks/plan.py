"""What a run measures, in which order, on one stack; `__main__` makes the plan from the command line."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
from rich.console import Console

from benchmarks import profiling
from benchmarks.access import Access, kubernetes_session
from benchmarks.cluster import Harness
from benchmarks.figures import CapacityFigures, F, Figures, LifeFigures, Subject, medians
from benchmarks.life.capacity import Levels
from benchmarks.life.run import Life, Part, Sizes
from benchmarks.live import run as live
from benchmarks.live.figures import LiveFigures
from benchmarks.measure import Bench, Case, During, nothing
from benchmarks.report import Results
from sandbox.progress import Progress
from sandbox.stack import Stack, StackOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What a run measures: created → Ready if there are `cases`, `parts` of a call's life, the capacity at `levels`,
    and what `live` calls cost, each number of them on a stack of its own.

    Rates are measured `rounds` times. Latencies of calls that run one at a time are measured once.
    """

    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]
    parts: tuple[Part, ...]
    sizes: Sizes
    rounds: int
    profile_beside: Path | None = None
    """Where profiles go, if they are wanted."""
    levels: Levels | None = None
    live: live.Sizes | None = None

    def ready_steps(self) -> Iterator[tuple[int, Case, Subject]]:
        """Rounds of created → Ready."""
        return self._in_turns(self.cases, self.subjects)

    def cycle_steps(self) -> Iterator[tuple[int, Case, Subject]]:
        """Rounds of full cycles. The kopf operator does not take part, because it does not end calls."""
        subjects = tuple(subject for subject in self.subjects if subject is not Subject.KOPF)
        return self._in_turns(self.sizes.cycles if Part.CYCLES in self.parts else (), subjects)

    def latencies(self) -> tuple[Part, ...]:
        """Parts that are measured once, for Roomkeeper alone."""
        wanted = Subject.ROOMKEEPER in self.subjects
        return tuple(part for part in self.parts if part is not Part.CYCLES) if wanted else ()

    def _in_turns(self, cases: Sequence[Case], subjects: Sequence[Subject]) -> Iterator[tuple[int, Case, Subject]]:
        """Order the subjects right after one another, each of them first in turn, so that noise affects all alike."""
        for number in range(self.rounds):
            for position, case in enumerate(cases):
                shift = (number + position) % len(subjects) if subjects else 0
                for subject in (*subjects[shift:], *subjects[:shift]):
                    yield number, case, subject


@dataclass
class _Found:
    ready: defaultdict[tuple[int, Subject], list[Figures]] = field(default_factory=lambda: defaultdict(list))
    cycles: defaultdict[tuple[int, Subject], list[LifeFigures]] = field(default_factory=lambda: defaultdict(list))
    life: list[LifeFigures] = field(default_factory=list)
    capacity: tuple[CapacityFigures, ...] = ()
    live: list[LiveFigures] = field(default_factory=list)

    def results(self) -> Results:
        cycles = (medians(rounds) for rounds in self.cycles.values())
        ready = tuple(medians(rounds) for rounds in self.ready.values())
        return Results(ready, (*self.life, *cycles), self.capacity, tuple(self.live))


class Run:
    """Executes a plan and reports its progress."""

    def __init__(self, plan: Plan, console: Console, progress: Progress) -> None:
        self._plan = plan
        self._console = console
        self._progress = progress
        self._found = _Found()

    async def __call__(self) -> Results:
        """Measure everything, on one stack but for the live calls; return the medians of the rounds."""
        plan = self._plan
        if plan.cases or plan.parts or plan.levels is not None:
            await self._on_one_stack()
        await self._live()
        return self._found.results()

    async def _on_one_stack(self) -> None:
        began = time.monotonic()
        async with Stack(StackOptions(operator=False)) as stack:
            access = Access.of(stack.endpoints)
            self._progress.done("stack", str(stack.directory.path), time.monotonic() - began)
            async with kubernetes_session(access, access.admin_token) as admin, aiohttp.ClientSession() as livekit:
                harness = Harness(access, admin, livekit)
                await harness.create_namespace()
                await self._ready(Bench(stack, access, admin, harness))
                life = Life(stack, access, admin, harness)
                await self._life(life)
                await self._capacity(life)

    async def _ready(self, bench: Bench) -> None:
        for number, case, subject in self._plan.ready_steps():
            what = f"{subject}, {case.in_flight} in flight"
            figures = await self._rate(what, number, "ready", subject, case, bench.measure)
            self._found.ready[case.in_flight, subject].append(figures)

    async def _life(self, life: Life) -> None:
        for part in self._plan.latencies():
            began = time.monotonic()
            found = await life.latencies(part, self._plan.sizes)
            told = "; ".join(f"p50 {one.p50_ms:.1f}, p99 {one.p99_ms:.1f} ms" for one in found)
            self._progress.done(part.value, told, time.monotonic() - began)
            self._found.life += found
        for number, case, subject in self._plan.cycle_steps():
            what = f"{subject}, {case.in_flight} cycles"
            figures = await self._rate(what, number, "cycle", subject, case, life.cycle)
            self._found.cycles[case.in_flight, subject].append(figures)

    async def _capacity(self, life: Life) -> None:
        if self._plan.levels is not None:
            began = time.monotonic()
            self._found.capacity = await life.capacity(self._plan.levels)
            told = "; ".join(f"{one.live}: {one.memory_mib:.0f} MiB" for one in self._found.capacity)
            self._progress.done("capacity", told, time.monotonic() - began)

    async def _live(self) -> None:
        if self._plan.live is None:
            return
        for calls in self._plan.live.live:
            began = time.monotonic()
            profiler = self._profiler(f"live-{calls}")
            found = await live.measure(calls, self._plan.live, self._progress.note, profiler or nothing)
            self._found.live.append(found)
            told = f"{found.memory_kib_per_match:.1f} KiB each, {found.idle_cpu_ms_per_s:.1f} m"
            self._progress.done(f"{calls} live", told, time.monotonic() - began)
            if profiler is not None:
                profiling.show(profiler.costs(), "live, per second", found.idle_cpu_ms_per_s, self._console)

    def _profiler(self, name: str) -> profiling.Profiler | None:
        beside = self._plan.profile_beside
        return None if beside is None else profiling.Profiler(beside.with_name(f"profile-{name}.txt"))

    async def _rate(
        self,
        what: str,
        number: int,
        kind: str,
        subject: Subject,
        case: Case,
        measure: Callable[[Subject, Case, During], Awaitable[F]],
    ) -> F:
        began = time.monotonic()
        profiler = self._profiler(f"{kind}-{subject}-{case.in_flight}")
        figures = await measure(subject, case, profiler or nothing)
        told = f"round {number + 1}: {figures.rate_per_s or 0:6.1f}/s, p50 {figures.p50_ms:.1f} ms"
        self._progress.done(what, told, time.monotonic() - began)
        if profiler is not None:
            profiling.show(profiler.costs(), what, figures.cpu_ms_per_match or 0.0, self._console)
        return figures
