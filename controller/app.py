"""The operator, put together: clients, caches, triggers and the loop, and the order in which they start and stop.

Start: HTTP endpoints, CRDs, our LIST (the sync gate), kopf's watch, then the lease; with the lease every key is
enqueued. Stop (SIGTERM): no new keys, those in hand finish, the lease is handed over, exit 0. Calls go on meanwhile:
that is why nobody is told.
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
from aiohttp import web

from controller.announce.announcer import Progress
from controller.announce.events import EventPoster
from controller.api.livekitserver import DEFAULT_SERVER
from controller.api.match import Match
from controller.api.names import MATCH, ROOM, livekit_room_name, room_name
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.identity import ReplicaIdentity
from controller.backends.lease import Leadership, LeaseTimes
from controller.backends.pools import Pools
from controller.backends.servers import Server
from controller.backends.tokens import IssuedTokens
from controller.clients.connection import KubernetesConnection, read_credentials
from controller.clients.kubernetes import KubernetesClient
from controller.clients.livekit import CALL_TIMEOUT_SECONDS, LiveKitClient
from controller.clients.redis.client import Redis
from controller.clock import ServerClock
from controller.errors import RoomkeeperError
from controller.loop.key import Key, Kind
from controller.loop.reconcile import Reconciler
from controller.loop.record import Recorder
from controller.loop.worker import Worker
from controller.settings import Settings
from controller.telemetry.health import Health
from controller.triggers.audit import Auditor
from controller.triggers.flags import FlagPoller
from controller.triggers.heartbeats import HeartbeatReader
from controller.triggers.kubernetes import KubernetesTrigger
from controller.triggers.poll import Poller
from controller.triggers.router import Router
from controller.triggers.signals import SignalSource
from controller.triggers.stream import StreamReader, WebhookSource
from controller.triggers.webhooks import MAX_BODY_BYTES, WebhookHandler, add_webhooks
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from controller.views.finished import FinishedMatches
from controller.views.heartbeats import HeartbeatView
from controller.views.livekit import LiveKitView

log = structlog.get_logger(__name__)

_FIRST_POLL_SECONDS = 0.7
_END_SECONDS = 5.0
LEASE_NAME = "roomkeeper-shard-0"


class Operator:
    """One replica. Build it inside a running loop (`open_operator`), then `run` it once."""

    def __init__(self, settings: Settings, connection: KubernetesConnection, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        clock = ServerClock()
        clock.on_step = self._clock_was_set
        identity = ReplicaIdentity.of_this_process()
        self._connection = connection
        self._replica = str(identity)
        self._router = router = Router(settings.cluster_id)
        matches = ObjectCache(Match, router.match_changed, self._match_gone, self._match_kept)
        rooms = ObjectCache(Room, router.room_changed, self._room_gone)
        kubernetes = KubernetesClient(connection, clock)
        leadership = Leadership(
            kubernetes,
            clock,
            identity,
            namespace=settings.namespace,
            name=LEASE_NAME,
            times=LeaseTimes(settings.lease_seconds, settings.lease_seconds / 5),
        )
        self._redis = Redis.from_url(settings.redis_url)
        pools = Pools(
            self._redis,
            settings.cluster_id,
            clock,
            matches=matches.in_namespace,
            confirm=leadership.confirm,
            outdated=leadership.outdated,
            restored=self._match_restored,
        )
        self._backends = Backends(
            settings.cluster_id,
            clock,
            kubernetes,
            _default_server(settings, http, router, clock),
            pools,
            matches,
            rooms,
            IssuedTokens(),
            leadership,
            HeartbeatView(
                settings.heartbeat_seconds * settings.heartbeat_misses,
                decide_alone=settings.heartbeat_decides == "Alone",
            ),
            AuditView(),
            CallIndex(),
            FinishedMatches(settings.max_finished_per_namespace, router.match_is_surplus),
            serves_flags=settings.legacy_flags,
        )
        self._health = Health()
        self._synced = asyncio.Event()
        self._events = EventPoster(kubernetes, clock, str(identity))
        recorder = Recorder(settings.record_dir) if settings.record_dir is not None else None
        self._reconciler = Reconciler(self._backends, Progress(self._events, clock), recorder)
        self._worker = Worker(self._reconciler, clock, concurrency=settings.concurrency)
        self._reconciler.on_observe = self._worker.observing
        router.enqueue = self._worker.enqueue
        self._trigger = KubernetesTrigger(connection, kubernetes, {MATCH: matches, ROOM: rooms}, settings.namespaces)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises if a part dies that the others cannot do without."""
        stop = asyncio.Event()
        self._on_signals(stop)
        async with self._endpoints(), _background(self._health.run(), self._events.run()):
            lead = asyncio.create_task(self._lead(), name="lead")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            watch_stop = asyncio.Event()
            watch = asyncio.create_task(self._watch(watch_stop, stop), name="watch")
            try:
                done, _ = await asyncio.wait({lead, watch, stopping}, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stopping}:
                    task.result()
                    raise RuntimeError(f"the operator's {task.get_name()} ended by itself")
            finally:
                await self._stop(lead, watch, watch_stop)
                stopping.cancel()
                await asyncio.gather(stopping, return_exceptions=True)

    def _on_signals(self, stop: asyncio.Event) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def close(self) -> None:
        """Close what the constructor opened."""
        await self._redis.close()

    async def _watch(self, watch_stop: asyncio.Event, stop: asyncio.Event) -> None:
        await self._trigger.wait_for_crds()
        await self._trigger.first_sync()
        self._health.is_synced = True
        self._synced.set()
        # What lives from here on for as long as the process does need not be looked at by every collection.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 1000)
        async with _background(
            self._trigger.resync_forever(self._settings.resync_seconds),
            self._connection.reload_token_forever(),
        ):
            # kopf takes the signals for itself when it starts, and would close the session before the lease is handed
            # over.
            await self._trigger.watch(watch_stop, on_started=lambda: self._on_signals(stop))

    async def _lead(self) -> None:
        """Hold the lease and work, again and again."""
        leadership = self._backends.leadership
        while True:
            await self._synced.wait()
            epoch = await leadership.acquire()
            self._backends.pools.begin_epoch(epoch)
            poller = Poller(self._backends, self._router, self._settings.poll_seconds)
            self._router.recount = poller.ask
            # Before anything is decided: what LiveKit has need not be guessed. One that hangs is not waited for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_POLL_SECONDS):
                    await poller.poll()
            async with _background(poller.run(), *self._listeners()):
                if self._health.is_stopping:
                    return
                self._worker.start()
                self._enqueue_all()
                await leadership.hold()
                await self._worker.stop(grace_seconds=0)
            self._router.stop_counting()

    def _listeners(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What tells the leader, beside Kubernetes and LiveKit: streams, heartbeats, flags."""
        settings, backends, router = self._settings, self._backends, self._router
        sources = (
            WebhookSource(self._redis, settings.cluster_id, self._replica, router),
            SignalSource(backends.pools, router, backends.clock, settings.cluster_id),
        )
        yield StreamReader(self._redis, sources, backends.pools.namespaces).run()
        yield HeartbeatReader(backends, router, min(5.0, settings.heartbeat_seconds / 2)).run()
        yield Auditor(backends, router, settings.poll_seconds, settings.namespaces).run()
        if settings.legacy_flags:
            yield FlagPoller(backends, router).run()

    def _enqueue_all(self) -> None:
        caches: tuple[tuple[Kind, ObjectCache[Any]], ...] = (
            (Kind.ROOM, self._backends.rooms),
            (Kind.MATCH, self._backends.matches),
        )
        for kind, cache in caches:
            for namespace, name in cache.names():
                self._worker.enqueue(Key(kind, namespace, name), "start")

    def _clock_was_set(self, by_seconds: float) -> None:
        """Windows that are open compare moments of two clocks now: they begin anew, as after a start of ours."""
        log.warning("the API server's clock was set; windows begin anew", by_seconds=round(by_seconds, 3))
        self._start_over()
        # Answers that were under way are dated by the clock of before. None of them is any more by then.
        asyncio.get_running_loop().call_later(CALL_TIMEOUT_SECONDS + 1, self._start_over)

    def _start_over(self) -> None:
        self._backends.livekit.view.restart(self._backends.clock.now())
        self._enqueue_all()

    def _match_kept(self, match: Match) -> None:
        self._backends.calls.kept(match)
        self._backends.finished.kept(match)

    def _match_restored(self, match: Match) -> None:
        """Tokens that were in Redis, and the record of the room, are made again."""
        if match.spec.tokens.delivery.to_redis:
            self._backends.tokens.lost(match.metadata.uid, self._backends.clock.now())
        namespace, name = match.metadata.namespace, match.metadata.name
        self._worker.enqueue(Key(Kind.MATCH, namespace, name), "restored")
        self._worker.enqueue(Key(Kind.ROOM, namespace, room_name(match.metadata.uid)), "restored")

    def _match_gone(self, match: Match) -> None:
        self._router.match_gone(match)
        self._backends.finished.gone(match)
        self._backends.tokens.forget(match.metadata.uid)
        self._backends.audit.forget(match.metadata.uid)
        self._backends.calls.gone(match)
        self._reconciler.forget(match.metadata.uid)

    def _room_gone(self, room: Room) -> None:
        self._router.room_gone(room)
        self._reconciler.forget(room.metadata.uid)
        name = livekit_room_name(self._settings.cluster_id, room.metadata.namespace, room.metadata.uid)
        self._backends.livekit.view.forget(name)

    async def _stop(self, lead: asyncio.Task[None], watch: asyncio.Task[None], watch_stop: asyncio.Event) -> None:
        log.info("stopping")
        self._health.is_stopping = True
        await self._worker.stop(self._settings.stop_seconds)
        await _end(lead)
        await self._backends.leadership.release()
        watch_stop.set()
        if self._health.is_synced:
            await asyncio.wait({watch}, timeout=_END_SECONDS)
        await _end(watch)
        log.info("stopped")

    @contextlib.asynccontextmanager
    async def _endpoints(self) -> AsyncIterator[None]:
        settings = self._settings
        webhooks = web.Application(client_max_size=MAX_BODY_BYTES)
        secrets = {settings.livekit_api_key: settings.livekit_api_secret.get_secret_value()}
        handler = WebhookHandler(secrets, self._backends.pools, self._router, self._backends.clock, self._replica)
        add_webhooks(webhooks, handler)
        health = web.Application()
        self._health.add_routes(health)
        runners = []
        try:
            for app, host, port in (
                (webhooks, settings.webhook_host, settings.webhook_port),
                (health, settings.metrics_host, settings.metrics_port),
            ):
                runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
                await runner.setup()
                runners.append(runner)
                await _listen(runner, host, port)
            log.info(
                "listening",
                webhooks=f"{settings.webhook_host}:{settings.webhook_port}",
                metrics=f"{settings.metrics_host}:{settings.metrics_port}",
            )
            yield
        finally:
            for runner in reversed(runners):
                await runner.cleanup()


@contextlib.asynccontextmanager
async def open_operator(settings: Settings) -> AsyncIterator[Operator]:
    """An operator with its sessions, closed in the end."""
    connection = KubernetesConnection(read_credentials())
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=100, keepalive_timeout=60.0), cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        operator = Operator(settings, connection, http)
        try:
            yield operator
        finally:
            await operator.close()
            await connection.close()


async def serve(settings: Settings) -> None:
    """Run one operator until it is told to stop."""
    async with open_operator(settings) as operator:
        await operator.run()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except OSError as error:
        raise RoomkeeperError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from error


def _default_server(settings: Settings, http: aiohttp.ClientSession, router: Router, clock: ServerClock) -> Server:
    secret = settings.livekit_api_secret.get_secret_value()
    return Server(
        DEFAULT_SERVER,
        settings.public_url,
        settings.livekit_api_key,
        secret,
        LiveKitClient(http, settings.api_url, settings.livekit_api_key, secret, clock),
        LiveKitView(router.rooms_changed, router.rooms_lost),
    )


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel, and wait, but not for ever: the lease is not to be held by a library that lost a cancellation."""
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=_END_SECONDS)
    await asyncio.gather(*ended, return_exceptions=True)
    if not ended:
        log.error("a part of the operator does not end; the rest goes on", part=task.get_name())


@contextlib.asynccontextmanager
async def _background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside the body, and end them with it. One that fails ends the body, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
