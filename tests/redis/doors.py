"""The two ways to call a published script: by its digest (EVALSHA), and as a function of the library (FCALL)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import contract
from controller.clients.redis import lua
from controller.clients.redis.client import Arguments, Redis


class Door(StrEnum):
    """A way in."""

    EVALSHA = "EVALSHA"
    FCALL = "FCALL"


class FunctionsRedis(Redis):
    """Our client, but it calls the published scripts as functions: with the pool's prefix instead of their keys."""

    async def run(self, script: lua.Script, keys: Sequence[str], args: Arguments) -> list[str]:
        """Run a script; a published one by its function."""
        if script not in lua.PUBLISHED:
            return await super().run(script, keys, args)
        prefix = keys[0][: keys[0].index("}:") + 2]

        async def attempt() -> list[str]:
            return await self._call(script.name, prefix, args() if callable(args) else args)

        return await self._repeat(script.name, attempt)

    async def _call(self, name: str, prefix: str, args: Sequence[str | int]) -> list[str]:
        answer: list[str] = await self._on(prefix, "FCALL", f"roomkeeper_{name}", 1, prefix, *args)
        return answer

    async def load(self) -> None:
        """Load the library into every server, as an administrator does."""
        for line in await self._primaries():
            await line.execute("FUNCTION", "LOAD", "REPLACE", contract.library())


@asynccontextmanager
async def opened(url: str, door: Door) -> AsyncIterator[Redis]:
    """A client that goes through this door; closed at the end."""
    client = FunctionsRedis.from_url(url) if door is Door.FCALL else Redis.from_url(url)
    try:
        if isinstance(client, FunctionsRedis):
            await client.load()
        yield client
    finally:
        await client.close()
