"""The HTTP servers of one replica: LiveKit's webhooks on one port; metrics and probes on another.

Both listen before anything else starts, so that a probe always gets an answer. Neighbors: `triggers.webhooks` and
`telemetry.health` answer, `app.door` limits connections, `app.life` keeps the servers open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from controller.app.door import Door
from controller.app.wiring import Parts
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.errors import RoomkeeperError
from controller.triggers.refusals import Refusals
from controller.triggers.webhooks import WebhookHandler, add_webhooks

log = structlog.get_logger(__name__)

_SHUTDOWN_SECONDS = 1.0
# LiveKit keeps its connections for webhooks, as many as it has cores. They must not take up all places of the door.
_KEEPALIVE_SECONDS = 20.0
_LINGER_SECONDS = 1.0
_BUFFER_BYTES = 16_384
_WEBHOOK_CONNECTIONS = 256
_HEALTH_CONNECTIONS = 64


@contextlib.asynccontextmanager
async def endpoints(parts: Parts) -> AsyncIterator[None]:
    """Both servers, open inside the block. Raises RoomkeeperError where a port cannot be listened on."""
    settings, refusals = parts.settings, Refusals()
    async with contextlib.AsyncExitStack() as stack:
        others = Refusals("metrics")
        for app, door, host, port in (
            (
                _webhooks(parts, refusals),
                Door(_WEBHOOK_CONNECTIONS, refusals.refused),
                settings.webhook_host,
                settings.webhook_port,
            ),
            (
                _health(parts),
                Door(_HEALTH_CONNECTIONS, others.refused),
                settings.metrics_host,
                settings.metrics_port,
            ),
        ):
            await stack.enter_async_context(listening(app, door, host, port))
        log.info(
            "listening",
            webhooks=f"{settings.webhook_host}:{settings.webhook_port}",
            metrics=f"{settings.metrics_host}:{settings.metrics_port}",
        )
        yield


@contextlib.asynccontextmanager
async def listening(app: web.Application, door: Door, host: str, port: int) -> AsyncIterator[asyncio.Server]:
    """Serve an application behind a door while the block runs."""
    app.middlewares.insert(0, door.middleware())
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        lingering_time=_LINGER_SECONDS,
        read_bufsize=_BUFFER_BYTES,
    )
    await runner.setup()
    try:
        server = await _listen(runner, door, host, port)
        try:
            yield server
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, door: Door, host: str, port: int) -> asyncio.Server:
    assert runner.server is not None
    try:
        return await asyncio.get_running_loop().create_server(
            door.factory(runner.server), host, port, reuse_address=True
        )
    except OSError as error:
        raise RoomkeeperError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from error


def _webhooks(parts: Parts, refusals: Refusals) -> web.Application:
    app = web.Application()
    handler = WebhookHandler(
        parts.configs.signers,
        lambda namespace: Pool(parts.redis, Keys(parts.settings.cluster_id, namespace), 0, 0),
        parts.router,
        parts.clock,
        parts.replica,
        refusals,
    )
    add_webhooks(app, handler)
    return app


def _health(parts: Parts) -> web.Application:
    app = web.Application()
    parts.health.add_routes(app)
    return app
