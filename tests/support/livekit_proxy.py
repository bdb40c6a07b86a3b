"""A LiveKit that is slow, or fails now and then: a proxy before its API.

Only the operator talks to the proxy. Participants connect to LiveKit itself, so nothing but the operator's view is
disturbed. Which requests are refused follows from a seed.
"""

from __future__ import annotations

import asyncio
import random
from enum import Enum
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

_PASSED_ON = ("Authorization", "Content-Type")


class Failure(Enum):
    """How a request fails."""

    UNAVAILABLE = "503 of LiveKit"
    BAD_GATEWAY = "502 of a proxy, with a page"
    CUT = "the connection is cut"


class LiveKitProxy:
    """`async with LiveKitProxy(where.livekit_http_url, port, share=0.14) as proxy`; the operator gets `proxy.url`.

    A `share` of the requests fails as one of `failures`. All others are passed on after `delay_seconds`. The API is
    below `path`. `refused` and `passed` count the requests by method, for example `ListRooms`.
    """

    def __init__(
        self,
        passes_to: str,
        port: int,
        share: float = 0.0,
        seed: int = 1,
        *,
        failures: tuple[Failure, ...] = (Failure.UNAVAILABLE,),
        path: str = "",
    ) -> None:
        self.url = f"http://127.0.0.1:{port}{path}"
        self.delay_seconds = 0.0
        self._failures = failures
        self._path = path
        self.refused: dict[str, int] = {}
        self.passed: dict[str, int] = {}
        self._passes_to = passes_to
        self._port = port
        self.share = share
        self._random = random.Random(seed)
        app = web.Application(client_max_size=1 << 22)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _take(self, request: web.Request) -> web.Response:
        method = request.path.rpartition("/")[2]
        if not request.path.startswith(f"{self._path}/twirp/"):
            return web.Response(status=404, text="not the API of LiveKit")
        await asyncio.sleep(self.delay_seconds)
        if self._random.random() < self.share:
            self.refused[method] = self.refused.get(method, 0) + 1
            return self._fail(request, self._random.choice(self._failures))
        self.passed[method] = self.passed.get(method, 0) + 1
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        url = self._passes_to + request.path_qs.removeprefix(self._path)
        try:
            async with self._session.post(url, data=await request.read(), headers=headers) as answer:
                content_type = {"Content-Type": answer.headers.get("Content-Type", "application/protobuf")}
                return web.Response(status=answer.status, body=await answer.read(), headers=content_type)
        except (aiohttp.ClientError, ConnectionError):
            return self._fail(request, Failure.BAD_GATEWAY)  # LiveKit is away

    @staticmethod
    def _fail(request: web.Request, how: Failure) -> web.Response:
        if how is Failure.CUT and request.transport is not None:
            request.transport.abort()
        if how is Failure.BAD_GATEWAY:
            return web.Response(status=502, text="<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
        return web.json_response({"code": "unavailable", "msg": "not now"}, status=503)
