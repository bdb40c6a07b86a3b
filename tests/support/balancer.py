"""A load balancer for TCP: one address, and servers behind it that take turns, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Self

_HOST = "127.0.0.1"


class Balancer:
    """`async with Balancer(first, second) as balancer`: clients connect to `balancer.port`.

    `taken` counts the connections that each server was given.
    """

    def __init__(self, *ports: int) -> None:
        self.port = 0
        self.taken = dict.fromkeys(ports, 0)
        self._turns: Iterator[int] = itertools.cycle(ports)
        self._behind = set(ports)
        self._connections: dict[asyncio.Task[None], int] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, _HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._cut(set())

    async def use(self, *ports: int) -> None:
        """Give new connections to these servers only, and cut those to the others."""
        self._turns, self._behind = itertools.cycle(ports), set(ports)
        await self._cut(self._behind)

    async def _cut(self, kept: set[int]) -> None:
        tasks = [task for task, port in self._connections.items() if port not in kept]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port, task = next(self._turns), asyncio.current_task()
        assert task is not None
        self._connections[task] = port
        self.taken[port] += 1
        try:
            back, forth = await asyncio.open_connection(_HOST, port)
            try:
                await _first_end(_pass_on(reader, forth), _pass_on(back, writer))
            finally:
                forth.close()
        except (OSError, asyncio.CancelledError):
            pass  # the client sees that its connection is cut
        finally:
            del self._connections[task]
            writer.close()


async def _first_end(*directions: Coroutine[object, None, None]) -> None:
    """Run both directions until one of them ends."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
