"""Skips while the keys of all live calls wait for their first decision after a start.

A skip is written into the Match, as a client of the API does. It is over when both users are settled in Redis: what the
people see. The skips are sent one after another at a fixed pace, each of them in the next namespace, and none of them
waits for the one before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp
import redis.asyncio as aioredis

from benchmarks.access import call
from benchmarks.calls import MERGE
from benchmarks.life.sight import SETTLED
from benchmarks.live.fill import Calls, LiveCall
from benchmarks.load import side_by_side, skip_patch
from benchmarks.watcher import MatchFailed
from controller.api.names import MATCH

_PER_SECOND = 50.0
_LOOK_AGAIN_SECONDS = 0.002
_PATIENCE_SECONDS = 60.0


async def measure(calls: Calls, chosen: Sequence[LiveCall], admin: aiohttp.ClientSession) -> list[float]:
    """Skip these calls; return the milliseconds until both users of each were settled."""
    redis = aioredis.Redis.from_url(calls.access.redis_url, decode_responses=True)
    found: list[float] = []

    async def one(skipped: LiveCall) -> None:
        url = f"{calls.access_to(skipped.namespace).collection(MATCH.plural)}/{skipped.name}"
        began = time.monotonic()
        await call(admin, "PATCH", url, skip_patch(skipped.users[0]), MERGE)
        await _settled(redis, [calls.keys(skipped.namespace).user(user) for user in skipped.users])
        found.append(1000 * (time.monotonic() - began))

    try:
        async with side_by_side() as group:
            for skipped in chosen:
                group.create_task(one(skipped))
                await asyncio.sleep(1 / _PER_SECOND)
    finally:
        await redis.aclose()
    return found


async def _settled(redis: aioredis.Redis, users: Sequence[str]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                states = [await redis.hget(user, "state") for user in users]
                if SETTLED.issuperset(states):
                    return
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    except TimeoutError:
        raise MatchFailed(f"{', '.join(users)} were not settled within {_PATIENCE_SECONDS:.0f} s") from None
