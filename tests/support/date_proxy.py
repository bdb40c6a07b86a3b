"""The API server with a wrong clock: a proxy that forwards everything and changes the `Date` of each answer."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

_PASSED_ON = ("Authorization", "Content-Type", "Accept")


class DateProxy:
    """`async with DateProxy(kubeconfig, port) as proxy`. The operator gets its KUBECONFIG from `kubeconfig`."""

    def __init__(self, kubeconfig: Path, port: int) -> None:
        self.off_seconds = 0.0
        self._config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
        self._port = port
        app = web.Application(client_max_size=1 << 22)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def __aenter__(self) -> Self:
        trusted = ssl.create_default_context(cadata=self._authority())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._runner.cleanup()

    def kubeconfig(self, at: Path, port: int | None = None) -> str:
        """Write a kubeconfig that leads to this proxy, or to what is before it at `port`; return its path."""
        cluster = {"server": f"http://127.0.0.1:{port or self._port}"}
        clusters = [{"name": entry["name"], "cluster": cluster} for entry in self._config["clusters"]]
        at.write_text(yaml.safe_dump({**self._config, "clusters": clusters}))
        return str(at)

    def _authority(self) -> str:
        cluster = self._config["clusters"][0]["cluster"]
        if "certificate-authority-data" in cluster:
            return base64.b64decode(cluster["certificate-authority-data"]).decode()
        return Path(cluster["certificate-authority"]).read_text()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        url = self._config["clusters"][0]["cluster"]["server"] + request.path_qs
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        async with self._session.request(
            request.method, url, data=await request.read() or None, headers=headers
        ) as answer:
            date = datetime.now(UTC) + timedelta(seconds=self.off_seconds)
            response = web.StreamResponse(status=answer.status)
            response.headers["Date"] = format_datetime(date, usegmt=True)
            response.headers["Content-Type"] = answer.headers.get("Content-Type", "application/json")
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
