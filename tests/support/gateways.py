"""Gateways in a test: signals, the flags of older clients, and beats in the background.

They use Redis as docs/redis.md describes it, through an ordinary client.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self, cast

from controller.clients.redis.gateway import Gateway
from controller.errors import BackendError
from tests.support.rig import Rig
from tests.support.waiting import eventually

_FLAG_SECONDS = 60


async def send(rig: Rig, type: str, user: str, *, match: str = "", at_ms: int | None = None, **more: str) -> str:
    """Add a signal to the stream; return its id. `at_ms` dates it back, which needs a stream without later ones."""
    fields = {"type": type, "user": user, "match": match, **more}
    written = {name: value for name, value in fields.items() if value}
    entry_id = "*" if at_ms is None else f"{at_ms}-0"
    return cast("str", await rig.redis.xadd(rig.keys.signals(), cast("dict[Any, Any]", written), id=entry_id))


async def heard(rig: Rig, entry_id: str) -> None:
    """Wait until the operator has handled the stream up to this entry."""

    async def is_heard() -> None:
        done = cast("str", await rig.redis.get(rig.keys.signals_done()) or "0-0")
        assert _order(done) >= _order(entry_id), f"signals are handled up to {done}, but not up to {entry_id}"

    await eventually(is_heard)


async def raise_flag(rig: Rig, name: str, user: str, value: str = "1") -> None:
    """Set a flag as older clients do."""
    await rig.redis.set(rig.keys.flag(name, user), value, ex=_FLAG_SECONDS)


class Beats:
    """A gateway that beats for its users until they are gone: `async with Beats(rig.gateway, "alice", "bob")`.

    Each user beats once in `every_seconds`. The beats are spread over this time, like those of real clients.
    """

    def __init__(self, gateway: Gateway, *users: str, every_seconds: float = 0.2) -> None:
        self._gateway = gateway
        self._every_seconds = every_seconds
        self._users = users
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(self._gateway.beat(user) for user in self._users))
        for number, user in enumerate(self._users):
            delay_seconds = self._every_seconds * number / len(self._users)
            self._tasks[user] = asyncio.create_task(self._beat(user, delay_seconds), name=f"beats of {user}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        await asyncio.wait(self._tasks.values())
        failures = [task.exception() for task in self._tasks.values() if not task.cancelled()]
        if failures and error is None:
            raise RuntimeError("a gateway failed") from failures[0]

    def stop(self, *users: str) -> None:
        """Stop the beats of these users; without names, of all: the gateway is down."""
        for user in users or self._users:
            self._tasks[user].cancel()

    async def _beat(self, user: str, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        while True:
            with contextlib.suppress(BackendError):  # Redis is away: the next beat is another try
                await self._gateway.beat(user)
            await asyncio.sleep(self._every_seconds)


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)
