"""Starts the operator of a source tree on a stack: of this one, or of another revision for a comparison.

Neighbors: `subjects` and `life.scene` start operators, `compare` prepares the tree of another revision.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sandbox.errors import ProgramError
from sandbox.program import Program, Recipe
from sandbox.source import ROOT
from sandbox.stack import Stack

_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)
_STOP_SECONDS = 3.0


@dataclass(frozen=True)
class Tree:
    """A source tree, and the Python that has its dependencies."""

    directory: Path
    python: str


OURS = Tree(ROOT, sys.executable)


@contextlib.asynccontextmanager
async def operator(stack: Stack, environment: Mapping[str, str], tree: Tree = OURS) -> AsyncIterator[int]:
    """Run the operator of `tree`; yield its process id once it is ready."""
    deaths: list[ProgramError] = []
    url = stack.endpoints.operator_url
    recipe = Recipe(
        name="operator",
        # Python puts the working directory first, so the package comes from there, whatever is installed.
        command=(tree.python, "-m", "controller", "operator"),
        ready=lambda: _is_ready(f"{url}/readyz"),
        where=url,
        environment=environment,
        directory=tree.directory,
        ready_timeout_seconds=30,
        grace_seconds=_STOP_SECONDS,
    )
    program = Program(recipe, stack.directory, deaths.append)
    await program.start()
    try:
        yield program.pid
    finally:
        await program.stop()
        if deaths:
            # All other failures follow from this one.
            raise deaths[0]


async def _is_ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
