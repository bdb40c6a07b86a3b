"""The life of one replica: in which order its parts start, how it leads, and how it stops.

Start: HTTP endpoints, CRDs, our LIST (the sync gate), kopf's watch, then the lease; with the lease every key is
enqueued. Stop (SIGTERM): no new keys, those in hand finish, the lease is handed over, exit 0. Calls continue during a
restart, so participants are not notified. Neighbors: `app.wiring` made the parts, `cli.operator` calls `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import aiohttp
import structlog

from controller.app.endpoints import endpoints
from controller.app.wiring import Parts, wire
from controller.clients.connection import KubernetesConnection, read_credentials
from controller.clients.request import LIMITS
from controller.errors import Backend, BackendError
from controller.loop.key import Key
from controller.loop.recipes import RECIPES, Recipes
from controller.loop.wakes import Wake
from controller.settings import Settings
from controller.triggers.audit import Auditor
from controller.triggers.flags import FlagPoller
from controller.triggers.heartbeats import HeartbeatReader
from controller.triggers.signals import SignalSource
from controller.triggers.stream import StreamReader, WebhookSource

log = structlog.get_logger(__name__)

_FIRST_POLL_SECONDS = 0.7
_END_SECONDS = 5.0
# Once the caches are synced, most objects live as long as the process: collections leave them alone (kopf's objects
# and ours measured: the p99 of a reconcile falls from 83 to 2 ms).
_GC_THRESHOLDS = (50_000, 50, 1000)


class Operator:
    """One replica. Build it inside a running event loop (`open_operator`), then `run` it once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._backends = parts.backends
        self._health = parts.health
        self._worker = parts.worker
        self._synced = asyncio.Event()
        parts.clock.follow(self._clock_was_set)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises if a part ends that the others depend on."""
        stop = asyncio.Event()
        self._on_signals(stop)
        async with (
            endpoints(self._parts),
            _background(self._health.run(), self._parts.events.run(), self._check_redis()),
        ):
            lead = asyncio.create_task(self._lead(), name="lead")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            watch = asyncio.create_task(self._watch(stop), name="watch")
            try:
                done, _ = await asyncio.wait({lead, watch, stopping}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    task.result()
                    raise RuntimeError(f"the operator's {task.get_name()} ended by itself")
            finally:
                await self._stop(lead, watch)
                stopping.cancel()
                await asyncio.gather(stopping, return_exceptions=True)

    def _on_signals(self, stop: asyncio.Event) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def _watch(self, stop: asyncio.Event) -> None:
        trigger = self._parts.trigger
        await trigger.first_sync()
        self._health.synced()
        self._synced.set()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        async with _background(
            trigger.resync_forever(self._settings.resync_seconds),
            self._parts.connection.reload_token_forever(),
        ):
            # kopf takes the signals over when it starts, and would stop the watch before the lease is released.
            await trigger.watch(on_started=lambda: self._on_signals(stop))

    async def _check_redis(self) -> None:
        """Say once, at the start, what is wrong with Redis: nothing else asks it before the first call."""
        try:
            await self._parts.redis.ping()
        except BackendError as error:
            log.warning(f"Redis cannot be used: {error.message}; no call is decided about until then")

    async def _lead(self) -> None:
        """Hold the lease and work, again and again."""
        leadership, pollers = self._backends.leadership, self._parts.pollers
        while True:
            await self._synced.wait()
            self._backends.pools.begin_epoch(await leadership.acquire())
            # Read LiveKit before anything is decided. A server that hangs is not waited for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_POLL_SECONDS):
                    await asyncio.gather(*(poller.poll() for poller in pollers))
            async with _background(*(poller.run() for poller in pollers), *self._listeners()):
                if self._health.is_stopping:
                    return
                self._worker.start()
                self._enqueue_all()
                await leadership.hold()
                await self._worker.stop(grace_seconds=0)

    def _listeners(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What the leader reads beside Kubernetes and LiveKit: streams, heartbeats, records, flags."""
        parts, settings, backends, router = self._parts, self._settings, self._backends, self._parts.router
        sources = (
            WebhookSource(parts.redis, settings.cluster_id, parts.replica, router),
            SignalSource(backends.pools, router, backends.clock, settings.cluster_id),
        )
        yield StreamReader(parts.redis, sources, backends.pools.namespaces).run()
        yield HeartbeatReader(backends, router, min(5.0, settings.heartbeat_seconds / 2)).run()
        namespaces = parts.trigger.read_namespaces if settings.namespaces else None
        yield Auditor(backends, router, settings.poll_seconds, namespaces).run()
        if settings.legacy_flags:
            yield FlagPoller(backends, router).run()

    def _enqueue_all(self) -> None:
        for kind, cache in self._backends.caches.items():
            for namespace, name in cache.names():
                self._parts.queue.enqueue(Key(kind, namespace, name), Wake.START)

    def _clock_was_set(self, by_seconds: float) -> None:
        """Open windows compare moments of two clocks now: they begin again, as after a start."""
        log.warning("the API server's clock was set; windows begin again", by_seconds=round(by_seconds, 3))
        self._start_over()
        # Answers that are under way carry the time of the old clock. None is under way after this.
        longest = LIMITS[Backend.LIVEKIT].deadline_seconds
        asyncio.get_running_loop().call_later(longest + 1, self._start_over)

    def _start_over(self) -> None:
        for server in self._backends.servers:
            server.view.restart(self._backends.clock.now())
        self._enqueue_all()

    async def _stop(self, lead: asyncio.Task[None], watch: asyncio.Task[None]) -> None:
        log.info("stopping")
        self._health.stopping()
        await self._worker.stop(self._settings.stop_seconds)
        await _end(lead)
        await self._backends.leadership.release()
        await _end(watch)
        log.info("stopped")


@contextlib.asynccontextmanager
async def open_operator(settings: Settings, recipes: Recipes = RECIPES) -> AsyncIterator[Operator]:
    """An operator for the kinds of `recipes`, with its sessions. They are closed at the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        connection = KubernetesConnection(read_credentials())
        stack.push_async_callback(connection.close)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=100, keepalive_timeout=60.0), cookie_jar=aiohttp.DummyCookieJar()
            )
        )
        parts = wire(settings, connection, http, recipes)
        stack.push_async_callback(parts.redis.close)
        yield Operator(parts)


async def serve(settings: Settings) -> None:
    """Run one operator until SIGTERM or SIGINT."""
    async with open_operator(settings) as operator:
        await operator.run()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel, and wait for a bounded time: a library that lost a cancellation must not keep the lease."""
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=_END_SECONDS)
    await asyncio.gather(*ended, return_exceptions=True)
    if not ended:
        log.error("a part of the operator does not end; the rest goes on", part=task.get_name())


@contextlib.asynccontextmanager
async def _background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside the body, and end them with it. If one fails, the body ends and the error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
