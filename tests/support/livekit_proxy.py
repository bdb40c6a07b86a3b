"""A LiveKit that fails now and then: a proxy before its API that refuses a share of the requests.

Only the operator talks to the proxy. Participants connect to LiveKit itself, so nothing but the operator's view is
disturbed. Which requests are refused follows from a seed.
"""

from __future__ import annotations

import random
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

_PASSED_ON = ("Authorization", "Content-Type")


class LiveKitProxy:
    """`async with LiveKitProxy(where.livekit_http_url, port, share=0.14) as proxy`; the operator gets `proxy.url`.

    `refused` and `passed` count the requests by method, for example `ListRooms`.
    """

    def __init__(self, passes_to: str, port: int, share: float, seed: int = 1) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.refused: dict[str, int] = {}
        self.passed: dict[str, int] = {}
        self._passes_to = passes_to
        self._port = port
        self._share = share
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
        if self._random.random() < self._share:
            self.refused[method] = self.refused.get(method, 0) + 1
            return web.json_response({"code": "unavailable", "msg": "not now"}, status=503)
        self.passed[method] = self.passed.get(method, 0) + 1
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        url = self._passes_to + request.path_qs
        async with self._session.post(url, data=await request.read(), headers=headers) as answer:
            content_type = answer.headers.get("Content-Type", "application/protobuf")
            return web.Response(status=answer.status, body=await answer.read(), headers={"Content-Type": content_type})
