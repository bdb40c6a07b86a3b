"""From a gateway's signal to both users back in the queue, while calls come and go at a steady rate.

Calls begin at fixed intervals, no matter how the earlier ones go: enter the queue, Ready, both in the room, a second of
talk, `skip`. Webhooks of our own say that both are in the room, because the machine could not run so many real clients.
The clock starts just before the signal is added to the stream and stops when both users are seen to be WAITING.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.figures import Measure, Samples
from benchmarks.life.calls import Call, begin
from benchmarks.life.scene import Scene
from benchmarks.load import side_by_side

_WARM_UP_SECONDS = 3.0
_TALK_SECONDS = 1.0
_STREAM_ENTRIES = 10_000


async def measure(scene: Scene, count: int, calls_per_second: float) -> tuple[Samples, float]:
    """Measure `count` calls after the warm-up; return the samples, and the signals per second."""
    warm_up = round(_WARM_UP_SECONDS * calls_per_second)
    sent: list[int] = []
    found: list[float] = []

    async def one(number: int) -> None:
        call = await begin(scene, number, ttlSecondsAfterFinished=0)
        await call.go_active()
        await asyncio.sleep(_TALK_SECONDS)
        await scene.sight.expect_settled(*call.users)
        began = time.monotonic_ns()
        await _send_skip(call)
        settled = await call.settled("WAITING", "WAITING")
        for user in call.users:
            await scene.gateway.leave(user)
        if number >= warm_up:
            sent.append(began)
            found.append((settled - began) / 1e6)

    await _at_rate(one, warm_up + count, calls_per_second)
    return {Measure.SIGNAL: found}, rate_of(sent)


def rate_of(moments_ns: list[int]) -> float:
    """Return how many events per second these moments are; 0 if there are too few."""
    if len(moments_ns) < 2:
        return 0.0
    return (len(moments_ns) - 1) / ((max(moments_ns) - min(moments_ns)) / 1e9)


async def _at_rate(one: Callable[[int], Coroutine[Any, Any, None]], count: int, per_second: float) -> None:
    """Start `one` for each number at its moment; return when all are done."""
    began = time.monotonic()
    async with side_by_side() as group:
        for number in range(count):
            await asyncio.sleep(began + number / per_second - time.monotonic())
            group.create_task(one(number))


async def _send_skip(call: Call) -> None:
    gateway, (who, _) = call.scene.gateway, call.users
    fields = {"type": "skip", "user": who, "match": call.uid, "by": who, "reason": "next"}
    await gateway.redis.append(gateway.keys.signals(), fields, max_entries=_STREAM_ENTRIES)
