"""A client of Redis that logs in as the one who sends a request: the operator, a gateway or a matchmaker.

Each has the rights of docs/reference/redis-rights.md and no others, so a right that is missing fails the test. Gateways
and matchmakers call the function library, as most of them should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redis import exceptions

from controller.clients.redis import lua
from controller.clients.redis.client import Arguments, Redis
from controller.clients.redis.keys import Role
from controller.settings.redis_address import fixed_address
from tests.redis.doors import FunctionsRedis

_MATCHMAKERS = (lua.RESERVE, lua.RELEASE)


class LoginsRedis(Redis):
    """Scripts and reads go through the client of the role that they belong to; all others are a gateway's."""

    def __init__(self, administrator: str, urls: Mapping[str, str]) -> None:
        super().__init__(fixed_address(urls[Role.GATEWAY]))
        self._gateway = _Functions(urls[Role.GATEWAY], administrator)
        self._matchmaker = _Functions(urls[Role.MATCHMAKER], administrator)
        self._operator = Redis.from_url(urls[Role.OPERATOR])

    async def run(self, script: lua.Script, keys: Sequence[str], args: Arguments) -> list[str]:
        """Run a script as the one to whom it belongs."""
        role = self._matchmaker if script in _MATCHMAKERS else self._gateway
        return await (role if script in lua.PUBLISHED else self._operator).run(script, keys, args)

    async def scored(
        self, key: str, *, at_most: int | None = None, offset: int = 0, limit: int
    ) -> list[tuple[str, float]]:
        """Read a sorted set: the queue, as the matchmaker."""
        return await self._matchmaker.scored(key, at_most=at_most, offset=offset, limit=limit)

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._gateway, self._matchmaker, self._operator):
            await client.close()
        await super().close()


class _Functions(FunctionsRedis):
    """Has the administrator load the library into a server that does not have it, as docs/redis.md says."""

    def __init__(self, url: str, administrator: str) -> None:
        super().__init__(fixed_address(url))
        self._administrator = administrator

    async def _call(self, name: str, prefix: str, args: Sequence[str | int]) -> list[str]:
        try:
            return await super()._call(name, prefix, args)
        except exceptions.ResponseError as error:
            if "Function not found" not in str(error):
                raise
        administrator = FunctionsRedis.from_url(self._administrator)
        await administrator.load()
        await administrator.close()
        return await super()._call(name, prefix, args)
