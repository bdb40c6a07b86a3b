"""Keeps background loops going: a loop that fails begins again after a pause, and the others do not notice.

One loop over the data of others must never end the process, which works for all namespaces. Neighbors: `app.life` names
the loops, `telemetry.pulse` has their ages.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import structlog

from controller.telemetry import metrics
from controller.telemetry.pulse import LoopName, Pulse, Pulses

log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 15.0
# A loop that ran for so long had worked: its next pause is a short one.
_STEADY_SECONDS = 60.0
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Loop:
    """A background loop. `run` gets its pulse, and ends only by being cancelled or by failing.

    `limit_seconds` is how long it may take to come round before it counts as dead.
    """

    name: LoopName
    run: Callable[[Pulse], Awaitable[None]]
    limit_seconds: float = 60.0


@contextlib.asynccontextmanager
async def supervised(pulses: Pulses, *loops: Loop) -> AsyncIterator[None]:
    """Run `loops` beside the body, each begun again whenever it fails. They end with the body.

    Their end is waited for, but not for ever: a library that lost a cancellation must not keep the lease.
    """
    tasks = {asyncio.create_task(_keep(loop, pulses), name=loop.name.value) for loop in loops}
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_END_SECONDS)
            for task in late:
                log.error("a loop does not end; the rest goes on", loop=task.get_name())


async def _keep(loop: Loop, pulses: Pulses) -> None:
    pulse = pulses.start(loop.name, loop.limit_seconds)
    pause_seconds = _FIRST_PAUSE_SECONDS
    try:
        while True:
            began = time.monotonic()
            try:
                await loop.run(pulse)
                log.error("a loop ended by itself, and begins again", loop=loop.name.value)
            except Exception:  # what is wrong with one loop must not stop the others
                log.exception("a loop failed, and begins again", loop=loop.name.value)
            metrics.loop_failures.labels(loop.name).inc()
            if time.monotonic() - began > _STEADY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
    finally:
        pulses.stop(pulse)
