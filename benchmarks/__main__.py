"""`python -m benchmarks` (= `make bench`): start a stack, measure the chosen parts, and print the results."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Coroutine, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from benchmarks import profiling, report
from benchmarks.access import CallFailed
from benchmarks.cluster import LeftBehind
from benchmarks.figures import Subject
from benchmarks.life import capacity
from benchmarks.life import run as life
from benchmarks.life.run import Part
from benchmarks.live import run as live
from benchmarks.measure import Case
from benchmarks.plan import Plan, Run
from benchmarks.quiet import Watched
from benchmarks.report import Results
from benchmarks.watcher import MatchFailed
from controller.errors import RoomkeeperError
from sandbox.errors import SandboxError
from sandbox.interrupts import EXIT_STATUS_TERMINATED, terminate_as_interrupt
from sandbox.parts import STACK_PROGRAMS, ensure
from sandbox.progress import Progress
from sandbox.source import ROOT

_FULL = {1: Case(1, 15, 60, 15.0), 8: Case(8, 40, 400, 15.0), 32: Case(32, 96, 800, 15.0)}
_QUICK = {1: Case(1, 5, 15, 6.0), 8: Case(8, 16, 64, 6.0), 32: Case(32, 32, 128, 6.0)}
_OUTPUT = ROOT / "build" / "bench.json"
_FAILURES = (
    *(CallFailed, LeftBehind, MatchFailed, profiling.ProfilerMissing),
    *(RoomkeeperError, SandboxError, TimeoutError),
)


class Only(StrEnum):
    """What can be measured alone: the two halves, the parts of the second one, the capacity, and many live calls."""

    READY = "ready"
    LIFE = "life"
    CAPACITY = "capacity"
    LIVE = "live"
    GROWTH = "growth"
    WEBHOOKS = Part.WEBHOOKS.value
    PEOPLE = Part.PEOPLE.value
    HEARTBEATS = Part.HEARTBEATS.value
    SIGNALS = Part.SIGNALS.value
    TERMINATIONS = Part.TERMINATIONS.value
    RESTORES = Part.RESTORES.value
    CYCLES = Part.CYCLES.value


def main(
    quick: Annotated[bool, typer.Option("--quick", help="few Matches, one round")] = False,
    only: Annotated[
        list[Only] | None,
        typer.Option(
            help="created → Ready, the life of calls, or parts of that (may be repeated); default: all of these. "
            "capacity: what live Matches cost; live: what 10 000 of them (or --matches) do to everything, a quarter of "
            "an hour; growth: the same with 100 and 1 000 of them before"
        ),
    ] = None,
    subjects: Annotated[
        list[Subject] | None, typer.Option("--subject", help="only these (may be repeated); default: all")
    ] = None,
    in_flight: Annotated[
        list[int] | None,
        typer.Option(help="Matches in flight (may be repeated); default: 1, 8 and 32, full cycles 1 and 16", min=1),
    ] = None,
    matches: Annotated[
        int | None, typer.Option(help="Matches per measurement; default: depends on the part", min=1)
    ] = None,
    calls_per_second: Annotated[
        float, typer.Option(help="how many calls begin per second when signals are measured", min=0.5)
    ] = 20.0,
    rounds: Annotated[int | None, typer.Option(help="default: 3, with --quick 1", min=1)] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="sample the subjects with py-spy and show where their CPU goes")
    ] = False,
    output: Annotated[Path, typer.Option(help="where the figures are written as JSON")] = _OUTPUT,
) -> None:
    """Roomkeeper against the floor and an idiomatic kopf operator, and the life of a call, on one real stack."""
    chosen = set(only or [Only.READY, Only.LIFE])
    sizes = dataclasses.replace(life.QUICK if quick else life.FULL, calls_per_second=calls_per_second)
    plan = Plan(
        subjects=tuple(subject for subject in Subject if not subjects or subject in subjects),
        cases=_cases(_QUICK if quick else _FULL, in_flight, matches) if Only.READY in chosen else (),
        parts=tuple(part for part in Part if Only.LIFE in chosen or Only(part.value) in chosen),
        sizes=sizes.changed(in_flight, matches),
        rounds=rounds or (1 if quick or profile else 3),
        profile_beside=_OUTPUT if profile else None,
        levels=(capacity.QUICK if quick else capacity.FULL) if Only.CAPACITY in chosen else None,
        live=_live_sizes(chosen, matches, is_quick=quick),
    )
    watched = Watched()
    # A pipe has no width of its own, and a table that is cut is useless.
    console, progress = Console(width=None if sys.stdout.isatty() else 140), Progress(sys.stderr)
    try:
        with terminate_as_interrupt():
            ensure(STACK_PROGRAMS, progress)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(_unless_terminated(Run(plan, console, progress)()))
    except asyncio.CancelledError:
        raise typer.Exit(EXIT_STATUS_TERMINATED) from None
    except _FAILURES as error:
        print(f"benchmarks: {error or 'a step took too long'}", file=sys.stderr)
        raise typer.Exit(1) from error
    report.show(results, plan.rounds, console)
    for doubt in watched.doubts():
        console.print(doubt, style="yellow")
    report.write_json(results, output)
    progress.note(f"written to {output}")


async def _unless_terminated(work: Coroutine[Any, Any, Results]) -> Results:
    """Await the work. SIGTERM cancels it, so that it stops everything that it started."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _live_sizes(chosen: set[Only], matches: int | None, *, is_quick: bool) -> live.Sizes | None:
    if not chosen & {Only.LIVE, Only.GROWTH}:
        return None
    sizes = live.QUICK if is_quick else live.FULL
    return sizes.changed(matches, grows=Only.GROWTH in chosen)


def _cases(known: dict[int, Case], in_flight: Iterable[int] | None, matches: int | None) -> tuple[Case, ...]:
    def case(number: int) -> Case:
        # A number that is not in the table takes the value of the next larger one, or of the largest.
        near = known.get(number) or known[min((n for n in known if n >= number), default=max(known))]
        warm_up = max(near.warm_up, number)
        count = matches or near.count
        return Case(number, warm_up if matches is None else min(warm_up, matches), count, near.seconds)

    return tuple(case(number) for number in in_flight or known)


if __name__ == "__main__":
    typer.run(main)
