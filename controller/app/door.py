"""The limits of a listening port: how many connections it takes, and how long one may stay without a request.

aiohttp limits neither, and a port that anybody can reach must not fill the process that holds the lease. Neighbor:
`app.endpoints` listens through a door; each application tells it of its requests by `middleware`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

SILENT_SECONDS = 10.0
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 27\r\n\r\ntoo many connections, wait\n"
)


class Door:
    """Makes the protocol of each connection of `server`: aiohttp's, or a refusal when `most` are open.

    A connection that sends no complete request for `silent_seconds` is closed. `refused` is called for each refusal.
    """

    def __init__(
        self, most: int, refused: Callable[[str, str, str | None], None], *, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._most = most
        self._refused = refused
        self._silent_seconds = silent_seconds
        self._silent: dict[object, asyncio.TimerHandle] = {}

    def middleware(self) -> Middleware:
        """Note that a connection has sent a request; aiohttp's own timeout counts from its answer on."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if (timer := self._silent.pop(request.protocol, None)) is not None:
                timer.cancel()
            return await handler(request)

        return note

    def factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """What `create_server` takes."""

        def connected() -> asyncio.Protocol:
            if len(server.connections) >= self._most:
                return _Full(self._refused)
            protocol = server()
            loop = asyncio.get_running_loop()
            self._silent[protocol] = loop.call_later(self._silent_seconds, self._close, protocol)
            return protocol

        return connected

    def _close(self, protocol: RequestHandler) -> None:
        """Close a connection that is still open and has sent no request."""
        del self._silent[protocol]
        if protocol.transport is None:
            return
        peer = protocol.transport.get_extra_info("peername")
        self._refused("silent", "the connection sent no complete request", str(peer[0]) if peer else None)
        protocol.force_close()


class _Full(asyncio.Protocol):
    """Refuses one connection."""

    def __init__(self, refused: Callable[[str, str, str | None], None]) -> None:
        self._refused = refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._refused("full", "too many connections are open", str(peer[0]) if peer else None)
        writer = cast("asyncio.Transport", transport)
        writer.write(_FULL)
        writer.close()
