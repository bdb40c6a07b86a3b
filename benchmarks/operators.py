"""Starts the operator of a source tree on a stack: of this one, or of another revision for a comparison.

Neighbors: `subjects`, `life.scene` and `live.replica` start operators, `compare` prepares the tree of another revision.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sandbox.errors import ProgramError
from sandbox.program import Program, Recipe
from sandbox.source import ROOT
from sandbox.stack import Stack

_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)
_READY_SECONDS = 120.0
_STOP_SECONDS = 3.0


@dataclass(frozen=True)
class Tree:
    """A source tree, and the Python that has its dependencies."""

    directory: Path
    python: str


OURS = Tree(ROOT, sys.executable)


def program(
    stack: Stack,
    environment: Mapping[str, str],
    on_death: Callable[[ProgramError], None],
    tree: Tree = OURS,
    *,
    name: str = "operator",
    entry: tuple[str, ...] = ("controller",),
) -> Program:
    """Return the operator of `tree` as a program that was not started yet. `entry` is the module that runs it."""
    url = f"http://127.0.0.1:{environment['ROOMKEEPER_METRICS_PORT']}"
    recipe = Recipe(
        name=name,
        # Python puts the working directory first, so the package comes from there, whatever is installed.
        command=(tree.python, "-m", *entry, "operator"),
        ready=lambda: _is_ready(f"{url}/readyz"),
        where=url,
        environment=environment,
        directory=tree.directory,
        ready_timeout_seconds=_READY_SECONDS,
        grace_seconds=_STOP_SECONDS,
    )
    return Program(recipe, stack.directory, on_death)


@contextlib.asynccontextmanager
async def operator(stack: Stack, environment: Mapping[str, str], tree: Tree = OURS) -> AsyncIterator[int]:
    """Run the operator of `tree`; yield its process id once it is ready."""
    deaths: list[ProgramError] = []
    running = program(stack, environment, deaths.append, tree)
    await running.start()
    try:
        yield running.pid
    finally:
        await running.stop()
        if deaths:
            # All other failures follow from this one.
            raise deaths[0]


async def _is_ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
