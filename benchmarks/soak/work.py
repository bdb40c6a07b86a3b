"""What the operator lives through in a soak: calls of many users from the queue to the end, and outages in between."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

import aiohttp
import redis.asyncio as redis_py
from redis import exceptions

from controller.api.names import API_VERSION, MATCH
from controller.clients.redis.gateway import Gateway, Unserved
from controller.clients.redis.keys import Keys
from controller.errors import BackendError
from sandbox.administrator import Administrator, Refused
from sandbox.endpoints import Endpoints
from sandbox.errors import SandboxError

PROGRAMS: Final = ("redis-server", "livekit-server", "kube-apiserver")
"""What is frozen, in turn."""

_OUTAGE_SECONDS: Final = 3.0
_PAUSE_SECONDS: Final = 0.05
_FAILURES: Final = (BackendError, SandboxError, exceptions.RedisError, aiohttp.ClientError, OSError, TimeoutError)

T = TypeVar("T")


class Work:
    """Calls in one namespace that exists. The caller closes the clients."""

    def __init__(
        self, where: Endpoints, namespace: str, admin: Administrator, gateway: Gateway, redis: redis_py.Redis
    ) -> None:
        self._where = where
        self._admin = admin
        self._gateway = gateway
        self._redis = redis
        self._keys = Keys(where.cluster_id, namespace)
        self._path = f"/apis/{API_VERSION}/namespaces/{namespace}/{MATCH.plural}"
        self._numbers = itertools.count()
        self._programs = itertools.cycle(PROGRAMS)
        self.done = 0

    async def cycles(self, count: int, at_once: int, outages: int = 0) -> None:
        """So many calls from their beginning to their end, and outages among them."""
        until = self.done + count
        left = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, count)):
                group.create_task(self._caller(left))
            for number in range(outages):
                await self._reach(until - count + (number + 1) * count // (outages + 1))
                await self._outage(next(self._programs))

    async def _caller(self, left: Any) -> None:
        for _ in left:
            await self._cycle(next(self._numbers))
            self.done += 1

    async def _cycle(self, number: int) -> None:
        users = [f"user-{number}-{side}" for side in "ab"]
        for user in users:
            await self._persist(partial(self._enqueue, user))
        path = f"{self._path}/soak-{number}"
        await self._persist(lambda: self._create(number, users))
        found = await self._until(path, lambda match: bool(match["status"].get("readyAt") or _is_over(match)))
        if number % 2 and found is not None:
            fields = {"type": "skip", "user": users[0], "match": found["metadata"]["uid"]}
            await self._persist(lambda: self._redis.xadd(self._keys.signals(), cast("dict[Any, Any]", fields)))
            await self._until(path, _is_over)
        await self._persist(lambda: self._delete(path))
        await self._until(path, lambda _: False)
        for user in users:
            await self._persist(partial(self._gateway.leave, user))

    async def _enqueue(self, user: str) -> None:
        """Let a user wait. The first user of a pool calls the operator."""
        if isinstance(await self._gateway.enqueue(user), Unserved):
            raise TimeoutError

    async def _create(self, number: int, users: list[str]) -> None:
        spec = {"participants": [{"identity": user} for user in users], "ttlSecondsAfterFinished": 0}
        metadata = {"name": f"soak-{number}"}
        answer = await self._admin.answer(
            "POST", self._path, {"apiVersion": API_VERSION, "kind": MATCH.kind, "metadata": metadata, "spec": spec}
        )
        if answer.status not in {201, 409}:
            raise Refused("a Match", answer)

    async def _delete(self, path: str) -> None:
        answer = await self._admin.answer("DELETE", path)
        if answer.status not in {200, 202, 404}:
            raise Refused("a deletion", answer)

    async def _until(self, path: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """Return the Match once this holds for it, or None once it is gone."""
        while True:
            answer = await self._persist(lambda: self._admin.answer("GET", path))
            if answer.status == 404:
                return None
            if answer.status == 200 and holds({"status": {}, **answer.body}):
                return answer.body
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat until it works: the program that it needs may be frozen."""
        while True:
            try:
                return await attempt()
            except _FAILURES:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _reach(self, done: int) -> None:
        while self.done < done:  # noqa: ASYNC110 (callers count)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _outage(self, program: str) -> None:
        pid = int((self._where.directory / "pids" / program).read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(_OUTAGE_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)


def _is_over(match: dict[str, Any]) -> bool:
    return bool(match["status"].get("endedAt"))
