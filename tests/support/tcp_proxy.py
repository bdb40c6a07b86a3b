"""A line between a client and a server that can be cut, or go dead without a word."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class TcpProxy:
    """`async with TcpProxy(host, port) as proxy`: clients connect to `proxy.port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def restore(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse connections, and close those that are open: the server is away."""
        if self._server is not None:
            self._server.close()
        lines = tuple(self._lines)
        for line in lines:
            line.close()
        await asyncio.gather(*(line.is_closed.wait() for line in lines))

    def go_dead(self) -> None:
        """Pass nothing on any longer over the connections that are open, which stay open. New ones work."""
        for line in self._lines:
            line.is_dead = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        line = _Line(writer, forth)
        self._lines.add(line)
        try:
            await asyncio.gather(line.pass_on(reader, forth), line.pass_on(back, writer))
        finally:
            self._lines.discard(line)
            line.is_closed.set()


class _Line:
    """One connection, in both directions."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends
        self.is_dead = False
        self.is_closed = asyncio.Event()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, until one end closes."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.is_dead:
                    writer.write(data)
                    await writer.drain()
        self.close()

    def close(self) -> None:
        """Close both ends."""
        for end in self._ends:
            end.close()
