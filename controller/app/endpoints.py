"""The HTTP servers of one replica: LiveKit's webhooks on one port; metrics and probes on another.

Both listen before anything else starts, so that a probe always gets an answer. Neighbors: `triggers.webhooks` and
`telemetry.health` answer, `app.life` keeps the servers open.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from controller.app.wiring import Parts
from controller.errors import RoomkeeperError
from controller.triggers.webhooks import MAX_BODY_BYTES, WebhookHandler, add_webhooks

log = structlog.get_logger(__name__)

_SHUTDOWN_SECONDS = 1.0


@contextlib.asynccontextmanager
async def endpoints(parts: Parts) -> AsyncIterator[None]:
    """Both servers, open inside the block. Raises RoomkeeperError where a port cannot be listened on."""
    settings = parts.settings
    async with contextlib.AsyncExitStack() as stack:
        for app, host, port in (
            (_webhooks(parts), settings.webhook_host, settings.webhook_port),
            (_health(parts), settings.metrics_host, settings.metrics_port),
        ):
            runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await _listen(runner, host, port)
        log.info(
            "listening",
            webhooks=f"{settings.webhook_host}:{settings.webhook_port}",
            metrics=f"{settings.metrics_host}:{settings.metrics_port}",
        )
        yield


def _webhooks(parts: Parts) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    secrets = {server.api_key: server.api_secret for server in parts.backends.servers}
    add_webhooks(app, WebhookHandler(secrets, parts.backends.pools, parts.router, parts.clock, parts.replica))
    return app


def _health(parts: Parts) -> web.Application:
    app = web.Application()
    parts.health.add_routes(app)
    return app


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except OSError as error:
        raise RoomkeeperError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from error
