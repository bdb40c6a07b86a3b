"""What a gateway does with the notices `rejoin`: it passes each one on to the client of its user.

async with Callers(redis_url, {keys.notify("alice"): alice}):
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from sandbox.people import Person

_BLOCK_MS = 1000
_AGAIN_SECONDS = 0.1


class Callers:
    """Follows the streams of notices, from the beginning of the block on; `people` has the client for each stream."""

    def __init__(self, redis_url: str, people: Mapping[str, Person]) -> None:
        self._redis = Redis.from_url(redis_url, decode_responses=True)
        self._people = people
        self._positions: dict[str, str] = {}
        self._following: asyncio.Task[None] | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        for stream in self._people:
            last = cast("list[tuple[str, dict[str, str]]]", await self._redis.xrevrange(stream, count=1))
            self._positions[stream] = last[0][0] if last else "0-0"
        self._following = asyncio.create_task(self._follow(), name="notices")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await self._redis.aclose()

    async def _follow(self) -> None:
        # redis-py may lose a cancellation that comes together with an answer.
        while not self._is_over:
            try:
                found = await self._redis.xread(cast("dict[Any, Any]", self._positions), block=_BLOCK_MS)
            except RedisError:
                await asyncio.sleep(_AGAIN_SECONDS)  # Redis is away: read on from the same place
                continue
            for stream, entries in cast("list[tuple[str, list[tuple[str, dict[str, str]]]]]", found):
                for entry_id, fields in entries:
                    self._positions[stream] = entry_id
                    if fields["type"] == "rejoin":
                        await self._people[stream].rejoin()
