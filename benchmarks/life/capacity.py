"""What Roomkeeper needs while many Matches are up: memory and CPU, at several numbers of live Matches.

Each Match is made as in the other measurements: its users wait, it becomes Ready, and webhooks of our own say that both
are in the room. Then nothing happens but what goes on in every call: each user beats at the operator's interval, and
the operator polls LiveKit, whose rooms are there and empty. The benchmark reads the CPU time over some time, and the
memory at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import CapacityFigures
from benchmarks.life.calls import Call, begin
from benchmarks.life.scene import Scene
from benchmarks.load import Batch, in_flight
from benchmarks.measure import process_cpu_ms

_AT_ONCE = 8
BEAT_SECONDS = 30.0
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Levels:
    """How many live Matches there are, one after another and rising, and for how long each number is measured.

    LiveKit's next polls find the rooms empty, and the statuses that say so are written: `settle_seconds` pass first.
    """

    live: tuple[int, ...]
    seconds: float
    settle_seconds: float


FULL = Levels((0, 500, 1000), 60.0, 10.0)
QUICK = Levels((0, 16), 1.0, 1.0)


async def measure(scene: Scene, levels: Levels) -> tuple[CapacityFigures, ...]:
    """Measure at each number of live Matches. The Matches are left for the harness to clean up."""
    found: list[CapacityFigures] = []
    users: list[str] = []
    for live in levels.live:
        users += await _more(scene, len(users) // 2, live)
        async with _beating(scene, users):
            await asyncio.sleep(levels.settle_seconds)
            began, cpu_ms = time.monotonic(), process_cpu_ms(scene.operator_pid)
            await asyncio.sleep(levels.seconds)
            seconds = time.monotonic() - began
            cpu_ms = process_cpu_ms(scene.operator_pid) - cpu_ms
        found.append(CapacityFigures(live, memory_mib(scene.operator_pid), cpu_ms / seconds, seconds))
    return tuple(found)


async def _more(scene: Scene, first: int, until: int) -> list[str]:
    """Make Matches until there are so many; return their users."""
    calls: list[Call] = []

    async def one(number: int) -> None:
        call = await begin(scene, number)
        await call.go_active()
        calls.append(call)

    if until > first:
        await in_flight(Batch(first, until - first, _AT_ONCE, _PATIENCE_SECONDS), one)
    return [user for call in calls for user in call.users]


@contextlib.asynccontextmanager
async def _beating(scene: Scene, users: Sequence[str]) -> AsyncIterator[None]:
    """Let each user beat once per interval, evenly spread, as the gateways of many users do."""

    async def beat() -> None:
        for user in itertools.cycle(users):
            await scene.gateway.beat(user)
            await asyncio.sleep(BEAT_SECONDS / len(users))

    async with beside(beat()):
        yield


@contextlib.asynccontextmanager
async def beside(beats: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the beats beside the body, and stop them at its end."""
    task = asyncio.create_task(beats)
    try:
        yield
    finally:
        # A failure of the beats is a failure of the measurement; being stopped is none.
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
