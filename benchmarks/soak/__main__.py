"""`python -m benchmarks.soak` (= `make soak`): the long form, with a table and a verdict.

20 000 calls, and as many outages as a day has with one every ten minutes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import redis.asyncio as redis_py
import typer

from benchmarks.soak.census import DIRECTORY, Census, census
from benchmarks.soak.verdict import growths, memory
from benchmarks.soak.work import Work
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from controller.telemetry import logs
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.parts import STACK_PROGRAMS, ensure
from sandbox.progress import Progress
from sandbox.recipes import bare_environment
from sandbox.source import ROOT
from sandbox.stack import Stack, StackOptions

_NAMESPACE = "soak"
_SETTLE_SECONDS = 3.0
_STOP_SECONDS = 30.0


def main(
    cycles: Annotated[int, typer.Option(help="calls from the queue to the end", min=20)] = 20_000,
    outages: Annotated[int, typer.Option(help="times that a program of the stack is frozen", min=0)] = 144,
    at_once: Annotated[int, typer.Option(help="calls at once", min=1)] = 16,
    rounds: Annotated[int, typer.Option(help="how often is counted", min=4)] = 10,
) -> None:
    """Let an operator live through many calls and outages, and say whether it still holds as little as before."""
    ensure(STACK_PROGRAMS, Progress(sys.stderr))
    logs.configure("console", "error", ())
    problems = asyncio.run(_soak(cycles, outages, at_once, rounds))
    for problem in problems:
        print(problem)
    print("flat" if not problems else f"not flat: {len(problems)} findings")
    sys.exit(1 if problems else 0)


async def _soak(cycles: int, outages: int, at_once: int, rounds: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="roomkeeper-soak-") as made:
        directory = Path(made)
        async with Stack(StackOptions(directory / "stack", operator=False)) as stack:
            where = stack.endpoints
            process = await _operator(where, directory)
            try:
                return await _measure(where, directory, cycles, outages, at_once, rounds)
            finally:
                process.terminate()
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)


async def _operator(where: Endpoints, directory: Path) -> asyncio.subprocess.Process:
    environment = {**bare_environment(), **where.operator_env, DIRECTORY: str(directory)}
    with (directory / "operator.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *launched((sys.executable, "-m", "benchmarks.soak.census", "operator")),
            stdout=log,
            stderr=log,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            cwd=ROOT,
        )


async def _measure(
    where: Endpoints, directory: Path, cycles: int, outages: int, at_once: int, rounds: int
) -> list[str]:
    redis = redis_py.Redis.from_url(where.redis_url, decode_responses=True)
    client = Redis.from_url(where.redis_url)
    async with Administrator.of(where) as admin:
        await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}})
        work = Work(where, _NAMESPACE, admin, Gateway(client, Keys(where.cluster_id, _NAMESPACE)), redis)
        measured: list[tuple[int, Census]] = []
        print(
            f"{'cycles':>7} {'RSS MB':>7} {'fds':>5} {'threads':>8} {'tasks':>6} {'objects':>8} {'entries':>8}",
            flush=True,
        )
        for number in range(rounds):
            here = outages * (number + 1) // rounds - outages * number // rounds
            await work.cycles(cycles // rounds, at_once, here)
            await asyncio.sleep(_SETTLE_SECONDS)
            found = await census(directory)
            measured.append((work.done, found))
            print(
                f"{work.done:7} {found.rss_mb:7.1f} {found.fds:5} {found.threads:8} {found.tasks:6} {found.objects:8} "
                f"{sum(found.held.values()):8}",
                flush=True,
            )
    await client.close()
    await redis.aclose()
    problems = list(growths(measured[0][1], measured[-1][1]))
    return [*problems, told] if (told := memory(measured)) else problems


if __name__ == "__main__":
    typer.run(main)
