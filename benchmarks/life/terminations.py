"""From the wish in `spec.termination` until everything is clean, while nothing else happens.

Everything is clean when the last of these was seen: both users are back in the queue, the status is Ended, the Secret
is gone, and LiveKit has reported that the room is closed.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Measure, Samples
from benchmarks.life.calls import FINISHED, begin
from benchmarks.life.scene import Scene
from benchmarks.life.sight import ENDED, GONE

_ECHO_SECONDS = 0.3
_WARM_UP = 3


async def measure(scene: Scene, count: int) -> Samples:
    """Measure `count` calls that are up, one after another."""
    settled_ms: list[float] = []
    clean_ms: list[float] = []
    for number in range(_WARM_UP + count):
        call = await begin(scene, number)
        await call.go_active()
        await asyncio.sleep(_ECHO_SECONDS)
        await scene.sight.expect_settled(*call.users)
        began = time.monotonic_ns()
        await call.skip()
        settled, *rest = await asyncio.gather(
            call.settled("WAITING", "WAITING"),
            call.status_says(ENDED),
            scene.sight.when(call.secret, GONE),
            scene.tapped.when(FINISHED, call.room),
        )
        if number >= _WARM_UP:
            settled_ms.append((settled - began) / 1e6)
            clean_ms.append((max(settled, *rest) - began) / 1e6)
    return {Measure.TERMINATION_SETTLED: settled_ms, Measure.TERMINATION_CLEAN: clean_ms}
