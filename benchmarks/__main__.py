"""`python -m benchmarks` (= `make bench`): starts a stack, measures all subjects in turn, tells what was found."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
import uvloop
from rich.console import Console

from benchmarks import profiling, report
from benchmarks.access import Access, CallFailed, kubernetes_session
from benchmarks.child import ChildFailed
from benchmarks.cluster import Harness
from benchmarks.figures import Figures, Subject, medians
from benchmarks.measure import Bench, Case, nothing
from benchmarks.watcher import MatchFailed
from sandbox.errors import SandboxError
from sandbox.interrupts import EXIT_STATUS_TERMINATED, terminate_as_interrupt
from sandbox.parts import STACK_PROGRAMS, ensure
from sandbox.progress import Progress
from sandbox.source import ROOT
from sandbox.stack import Stack, StackOptions

_FULL = {1: Case(1, 15, 60), 8: Case(8, 40, 400), 32: Case(32, 96, 800)}
_QUICK = {1: Case(1, 5, 15), 8: Case(8, 16, 64), 32: Case(32, 32, 128)}
_OUTPUT = ROOT / "build" / "bench.json"


@dataclass(frozen=True)
class Plan:
    """What is to be measured: every subject with every case, `rounds` times."""

    subjects: tuple[Subject, ...]
    cases: tuple[Case, ...]
    rounds: int

    def steps(self) -> Iterator[tuple[int, Case, Subject]]:
        """Subjects right after one another, each in turn the first, so that the machine's noise meets all of them."""
        for number in range(self.rounds):
            for position, case in enumerate(self.cases):
                shift = (number + position) % len(self.subjects)
                for subject in (*self.subjects[shift:], *self.subjects[:shift]):
                    yield number, case, subject


async def measure(plan: Plan, console: Console, progress: Progress, *, profile: bool) -> list[Figures]:
    """Measure everything on one stack; the medians of the rounds."""
    rounds: dict[tuple[int, Subject], list[Figures]] = defaultdict(list)
    began = time.monotonic()
    async with Stack(StackOptions(operator=False)) as stack:
        access = Access.of(stack.endpoints)
        progress.done("stack", str(stack.directory.path), time.monotonic() - began)
        async with kubernetes_session(access, access.admin_token) as admin, aiohttp.ClientSession() as livekit:
            harness = Harness(access, admin, livekit)
            await harness.create_namespace()
            bench = Bench(stack, access, admin, harness)
            for number, case, subject in plan.steps():
                began = time.monotonic()
                what = f"{subject}, {case.in_flight} in flight"
                profiler = profiling.Profiler(_profile_path(subject, case)) if profile else None
                figures = await bench.measure(subject, case, profiler or nothing)
                rounds[case.in_flight, subject].append(figures)
                told = f"round {number + 1}: {figures.rate_per_s:6.1f}/s, p50 {figures.p50_ms:.1f} ms"
                progress.done(what, told, time.monotonic() - began)
                if profiler is not None:
                    profiling.show(profiler.costs(), figures, console)
    return [medians(found) for found in rounds.values()]


def _profile_path(subject: Subject, case: Case) -> Path:
    return _OUTPUT.with_name(f"profile-{subject}-{case.in_flight}.txt")


def main(
    quick: Annotated[bool, typer.Option("--quick", help="few Matches, one round")] = False,
    subjects: Annotated[
        list[Subject] | None, typer.Option("--subject", help="only these (may be repeated); default: all")
    ] = None,
    in_flight: Annotated[
        list[int] | None, typer.Option(help="Matches in flight (may be repeated); default: 1, 8 and 32", min=1)
    ] = None,
    matches: Annotated[
        int | None, typer.Option(help="Matches per measurement; default: by the number in flight", min=1)
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="default: 3, with --quick 1", min=1)] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="sample the subjects with py-spy and show where their CPU goes")
    ] = False,
    output: Annotated[Path, typer.Option(help="where the figures are written as JSON")] = _OUTPUT,
) -> None:
    """From created to Ready: Roomkeeper, an idiomatic kopf operator, and the floor, on one real stack."""
    cases = _cases(_QUICK if quick else _FULL, in_flight or list(_FULL), matches)
    chosen = tuple(subject for subject in Subject if not subjects or subject in subjects)
    plan = Plan(chosen, cases, rounds or (1 if quick or profile else 3))
    # A pipe has no width of its own, and tables that are cut say nothing.
    console, progress = Console(width=None if sys.stdout.isatty() else 140), Progress(sys.stderr)
    try:
        with terminate_as_interrupt():
            ensure(STACK_PROGRAMS, progress)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(_unless_terminated(measure(plan, console, progress, profile=profile)))
    except asyncio.CancelledError:
        raise typer.Exit(EXIT_STATUS_TERMINATED) from None
    except (CallFailed, ChildFailed, MatchFailed, SandboxError, profiling.ProfilerMissing, TimeoutError) as error:
        print(f"benchmarks: {error or 'a step took too long'}", file=sys.stderr)
        raise typer.Exit(1) from error
    report.show(figures, plan.rounds, console)
    report.write_json(figures, output)
    progress.note(f"written to {output}")


async def _unless_terminated(work: Coroutine[Any, Any, list[Figures]]) -> list[Figures]:
    """SIGTERM cancels the work, so that everything it started is stopped."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _cases(known: dict[int, Case], in_flight: list[int], matches: int | None) -> tuple[Case, ...]:
    def case(number: int) -> Case:
        # A number that is not in the table: as many as the next one that is, or as the largest.
        near = known.get(number) or known[min((n for n in known if n >= number), default=max(known))]
        warm_up = max(near.warm_up, number)
        return Case(number, warm_up if matches is None else min(warm_up, matches), matches or near.count)

    return tuple(case(number) for number in in_flight)


if __name__ == "__main__":
    typer.run(main)
