"""`kubectl logs`: the API server asks the node for them, over TLS whose certificate it does not check."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from sandbox.ports import PortLocks

_POLL_SECONDS: Final = 0.1


class LogServer:
    """Serves what `log(namespace, pod, container)` names."""

    def __init__(self, stack_directory: Path, log: Callable[[str, str, str], Path]) -> None:
        """The certificate is the API server's own, from the directory of its stack."""
        self._certificate = stack_directory / "data" / "kubernetes"
        self._log = log
        self._locks = PortLocks()
        self.port = self._locks.take()
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)

    async def start(self) -> None:
        """Listen."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate / "apiserver.crt", self._certificate / "apiserver.key")
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context).start()

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
        self._locks.release()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        file = self._log(*(request.match_info[name] for name in ("namespace", "pod", "container")))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        if not file.exists():
            raise web.HTTPNotFound(text="the container has not been started")
        await response.prepare(request)
        with file.open("rb") as lines:
            await response.write(_tail(lines.read(), request.query.get("tailLines")))
            while request.query.get("follow") == "true":
                if chunk := lines.read():
                    await response.write(chunk)
                await asyncio.sleep(_POLL_SECONDS)
        await response.write_eof()
        return response


def _tail(content: bytes, count: str | None) -> bytes:
    return content if count is None else b"".join(content.splitlines(keepends=True)[-int(count) :])
