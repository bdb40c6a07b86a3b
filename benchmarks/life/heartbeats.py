"""From silence to settled: a client is lost, and its heartbeats stop while the window to come back is still open.

Both users of all calls beat. LiveKit reports that one of them was lost, which alone would end the call only much later.
Then their beats stop. The figure is the time from the last beat until both users are settled, minus the threshold. The
operator reads heartbeats at intervals, so on average half an interval is part of the figure.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.figures import Measure, Samples
from benchmarks.life.calls import LEFT, Call, begin
from benchmarks.life.scene import Scene
from benchmarks.load import side_by_side
from benchmarks.watcher import MatchFailed
from controller.clients.redis.gateway import Beat

SETTINGS = {"ROOMKEEPER_HEARTBEAT_SECONDS": "1", "ROOMKEEPER_HEARTBEAT_MISSES": "2"}
"""A user counts as silent after 2 s; the operator checks every half second."""

_THRESHOLD_SECONDS = 2.0
_BEAT_SECONDS = 0.25
# If many users fall silent within one interval, the operator suspects their gateway. Not a multiple of the interval.
_BETWEEN_SECONDS = 0.37


async def measure(scene: Scene, count: int) -> Samples:
    """Measure `count` calls: in one after another, one of the two users falls silent."""
    calls = []
    beating: dict[str, asyncio.Task[None]] = {}
    last: dict[str, int] = {}
    async with side_by_side() as group:
        for number in range(count):
            call = await begin(scene, number)
            calls.append(call)
            for user in call.users:
                beating[user] = group.create_task(_beat(scene, user, last))
            await call.go_active()
        lost = [group.create_task(_lose(call, position, beating, last)) for position, call in enumerate(calls)]
        found = list(await asyncio.gather(*lost))
        for task in beating.values():
            task.cancel()
    return {Measure.HEARTBEATS: found}


async def _lose(call: Call, position: int, beating: dict[str, asyncio.Task[None]], last: dict[str, int]) -> float:
    await asyncio.sleep(position * _BETWEEN_SECONDS)
    _, who = call.users
    await call.tell(LEFT, who, "CONNECTION_TIMEOUT")
    await call.scene.sight.expect_settled(*call.users)
    beating[who].cancel()
    await asyncio.wait({beating[who]})
    settled = await call.settled("WAITING", "IDLE")
    return (settled - last[who]) / 1e6 - _THRESHOLD_SECONDS * 1000


async def _beat(scene: Scene, user: str, last: dict[str, int]) -> None:
    while True:
        last[user] = time.monotonic_ns()
        reply = await scene.gateway.beat(user)
        if not isinstance(reply, Beat):
            raise MatchFailed(f"the beat of {user} was answered with {reply}")
        await asyncio.sleep(_BEAT_SECONDS)
