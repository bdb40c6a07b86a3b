"""`python -m benchmarks.compare REV` (= `make bench-compare REV=…`): this tree against another revision of it.

Both work on one stack, which is that of this tree (its CRDs, its rights), one after another in each round and each of
them first in turn. So what else the machine does falls on both alike, and the ratio within a round says more than two
runs at different times. The other revision is checked out below build/; it gets a virtual environment of its own if its
dependencies are others. Neighbors: `measure` and `life.run` measure, `operators` starts the operator of a tree.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.access import Access, CallFailed, kubernetes_session
from benchmarks.cluster import Harness, LeftBehind
from benchmarks.figures import Figures, LifeFigures, Subject, estimate
from benchmarks.life.run import Life
from benchmarks.measure import Bench, Case
from benchmarks.operators import OURS, Tree
from benchmarks.quiet import Watched
from benchmarks.watcher import MatchFailed
from controller.errors import RoomkeeperError
from sandbox.errors import SandboxError
from sandbox.interrupts import terminate_as_interrupt
from sandbox.parts import STACK_PROGRAMS, ensure
from sandbox.progress import Progress
from sandbox.source import ROOT
from sandbox.stack import Stack, StackOptions

_TREES = ROOT / "build" / "compare"
_DEPENDENCIES = ("constraints.txt", "pyproject.toml")
_FAILURES = (CallFailed, LeftBehind, MatchFailed, RoomkeeperError, SandboxError, TimeoutError)
_HERE, _THERE = "this tree", "the revision"
_FIELDS = {
    "cpu_ms_per_match": "CPU ms per Match",
    "rate_per_s": "Matches/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "api_writes_per_match": "API writes per Match",
}


class What(StrEnum):
    """What is compared: created → Ready, or full cycles."""

    READY = "ready"
    CYCLES = "cycles"


class NoRevision(Exception):
    """The other revision cannot be had."""


@dataclass(frozen=True)
class Load:
    """What is measured, with how much load, and how often."""

    what: What
    case: Case
    rounds: int


def tree_of(revision: str, progress: Progress) -> Tree:
    """Check `revision` out, or find it as it was checked out before. Raises NoRevision."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not commit:
        raise NoRevision(f"{revision} is no revision of this repository")
    directory = _TREES / commit[:12]
    if not directory.exists():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", "--force", str(directory), commit)
    if not (directory / "controller").is_dir():
        raise NoRevision(f"{revision} could not be checked out into {directory}")
    if all(_same(directory / name, ROOT / name) for name in _DEPENDENCIES):
        return Tree(directory, sys.executable)
    progress.note(f"{revision} has other dependencies: a virtual environment is made for it")
    made = subprocess.run(("make", "-C", str(directory), "venv"), check=False)
    if made.returncode:
        raise NoRevision(f"make venv failed in {directory}")
    return Tree(directory, str(directory / ".venv" / "bin" / "python"))


def _git(*words: str) -> str:
    command = ("git", "-C", str(ROOT), *words)
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


async def compare(trees: Mapping[str, Tree], load: Load, progress: Progress) -> dict[str, list[Figures | LifeFigures]]:
    """Measure the trees in turns on one stack; return the figures of all rounds by tree."""
    found: defaultdict[str, list[Figures | LifeFigures]] = defaultdict(list)
    async with Stack(StackOptions(operator=False)) as stack:
        access = Access.of(stack.endpoints)
        async with kubernetes_session(access, access.admin_token) as admin, aiohttp.ClientSession() as livekit:
            harness = Harness(access, admin, livekit)
            await harness.create_namespace()
            for number in range(load.rounds):
                for name in (*trees,) if number % 2 else (*reversed([*trees]),):
                    began = time.monotonic()
                    parts = (stack, access, admin, harness, trees[name])
                    figures: Figures | LifeFigures
                    if load.what is What.READY:
                        figures = await Bench(*parts).measure(Subject.ROOMKEEPER, load.case)
                    else:
                        figures = await Life(*parts).cycle(Subject.ROOMKEEPER, load.case)
                    found[name].append(figures)
                    told = f"round {number + 1}: {figures.cpu_ms_per_match or 0:.2f} ms of CPU per Match"
                    progress.done(name, told, time.monotonic() - began)
    return found


def table(title: str, found: Mapping[str, Sequence[Figures | LifeFigures]]) -> Table:
    """The figures of both, and the ratio of each round: this tree divided by the revision."""
    made = Table(title=title, title_justify="left")
    for heading in ("", _HERE, _THERE, "ratio"):
        made.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name, heading in _FIELDS.items():
        here, there = ([float(getattr(one, name)) for one in found[which]] for which in (_HERE, _THERE))
        ratios = [ours / theirs for ours, theirs in zip(here, there, strict=True) if theirs]
        made.add_row(heading, *(str(estimate(values)) for values in (here, there, ratios)))
    return made


def main(
    revision: Annotated[str, typer.Argument(help="the revision to compare this tree with: a commit, branch or tag")],
    only: Annotated[What, typer.Option(help="created → Ready, or full cycles")] = What.READY,
    in_flight: Annotated[int, typer.Option(help="Matches in flight", min=1)] = 32,
    matches: Annotated[int, typer.Option(help="Matches per measurement", min=1)] = 400,
    rounds: Annotated[int, typer.Option(help="how often each is measured", min=1)] = 5,
) -> None:
    """Roomkeeper as it is here against another revision of it, in turns on one real stack."""
    console, progress = Console(width=None if sys.stdout.isatty() else 140), Progress(sys.stderr)
    watched = Watched()
    load = Load(only, Case(in_flight, in_flight, matches, 120.0), rounds)
    try:
        trees = {_HERE: OURS, _THERE: tree_of(revision, progress)}
        with terminate_as_interrupt():
            ensure(STACK_PROGRAMS, progress)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(compare(trees, load, progress))
    except (*_FAILURES, NoRevision) as error:
        print(f"benchmarks: {error or 'a step took too long'}", file=sys.stderr)
        raise typer.Exit(1) from error
    console.print(table(f"{only}, {in_flight} in flight, {rounds} rounds, {_THERE}: {revision}", found))
    for line in watched.doubts():
        console.print(line, style="yellow")


if __name__ == "__main__":
    typer.run(main)
