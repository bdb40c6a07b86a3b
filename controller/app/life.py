"""The life of one replica: in which order its parts start, how it leads, and how it stops.

Start: HTTP endpoints, CRDs, our LIST (the sync gate), kopf's watch, then the lease. With the lease the operator looks
for others that are set up for the same namespaces, and for LiveKit's rooms. Then every key is enqueued: lost rooms and
what clients wait for at once, all others when more is known. Stop (a signal): no new keys, those in hand finish, the
lease is handed over, exit 0. Calls continue during a restart, so participants are not notified.
Neighbors: `app.wiring` made the parts, `app.supervisor` keeps the loops going, `app.stopping` hears the signals,
`app.term` is what lives as long as the lease is ours, `cli.operator` calls `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp
import structlog

from controller.api.names import MATCH
from controller.app.endpoints import endpoints
from controller.app.start import tell_of_start
from controller.app.stop_notice import tell_of_stop
from controller.app.stopping import StopSignals
from controller.app.supervisor import Loop, supervised
from controller.app.term import Term, begin_term
from controller.app.tracing import traced
from controller.app.wiring import Parts, wire
from controller.clients.connection import connected
from controller.clients.redis.errors import WRONG_SERVER
from controller.clients.redis.server_info import ServerInfo
from controller.errors import BackendError, SettingsError
from controller.loop.key import Key, in_turn
from controller.loop.recipes import RECIPES, Recipes
from controller.loop.wakes import Wake
from controller.settings import Settings, variable
from controller.telemetry.pulse import LoopName, Pulse
from controller.triggers.certificates import CertificateWatch, sources
from controller.triggers.neighbors import until_answered
from controller.triggers.redis_watch import RedisWatch

log = structlog.get_logger(__name__)

# A collection is one turn of the event loop, and takes a microsecond and more for each object that is looked at: so few
# are looked at, often. The oldest are rarely collected, since most of them live as long as the process.
_GC_THRESHOLDS = (1_000, 5, 300)
# LiveKit is read before anything is decided. What users wait for does not wait longer for a server that hangs.
_FIRST_LISTS_SECONDS = 0.7
# A key is decided when it is known who is in its room, but not later than this.
_FIRST_COUNTS_SECONDS = 30.0


class Operator:
    """One replica. Build it inside a running event loop (`open_operator`), then `run` it once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._health = parts.health
        self._term: Term | None = None
        parts.clock.follow(self._clock_was_set)

    async def run(self) -> None:
        """Serve until a signal asks for the end: SIGTERM, SIGINT or SIGHUP. A second one ends the process at once."""
        gc.set_threshold(*_GC_THRESHOLDS)
        stop = StopSignals()
        stop.listen()
        parts, pulses = self._parts, self._parts.pulses
        async with endpoints(parts), supervised(pulses, *self._always()):
            await self._check_redis()
            if await self._is_synced(stop):
                async with supervised(pulses, *self._watches(stop)):
                    async with supervised(pulses, Loop(LoopName.LEAD, self._lead)):
                        await stop.wait()
                        self._health.stopping()
                        if self._term is not None:
                            message = self._settings.stop_message
                            if message and self._term.worker.has_started:
                                await tell_of_stop(self._term.backends, parts.neighbors.serves, parts.replica, message)
                            await self._term.worker.stop(self._settings.stop_seconds)
                    await self._parts.leadership.release()
            log.info("stopped")

    async def _is_synced(self, stop: StopSignals) -> bool:
        """Fill the caches, for as long as it takes. Returns False if the operator is stopped first."""
        syncing = asyncio.create_task(self._parts.trigger.first_sync(), name="first sync")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({syncing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        is_synced = syncing.done()
        for task in (syncing, stopping):
            task.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        if not is_synced:
            self._health.stopping()
            await asyncio.gather(syncing, return_exceptions=True)
            return False
        syncing.result()
        await self._parts.reader.first_read()
        # Collections leave the caches alone from now on (the p99 of a reconcile fell from 83 to 2 ms). Nobody is told
        # before it that the replica is ready: with ten thousand calls this is one long turn of the event loop.
        gc.collect()
        gc.freeze()
        self._health.synced()
        return True

    async def _check_redis(self) -> None:
        """Ask Redis once at the start, and say what an administrator should change in it.

        Raises SettingsError if the URL names another kind of server.
        """
        redis = self._parts.redis
        try:
            await redis.ping()
        except BackendError as error:
            if error.code == WRONG_SERVER:
                raise SettingsError(f"roomkeeper operator: {error.message} ({variable('redis_url')})") from None
            return  # the client has told about it
        try:
            info = ServerInfo(await redis.info())
        except BackendError as error:
            log.debug("Redis does not tell about itself", error=str(error))
            return
        for warning in info.warnings():
            log.warning(f"Redis works, but {warning}")

    def _always(self) -> Iterator[Loop]:
        """What every replica does from its start on."""
        connection = self._parts.connection
        yield Loop(LoopName.LAG, self._health.run)
        yield Loop(LoopName.EVENTS, self._parts.events.run)
        yield Loop(LoopName.CREDENTIALS, partial(connection.keep_current, clock=self._parts.clock), limit_seconds=300)
        yield Loop(LoopName.ERRORS, self._parts.errors.run)
        yield Loop(LoopName.REDIS, RedisWatch(self._parts.redis).run)
        found = partial(sources, self._settings, connection)
        yield Loop(LoopName.CERTIFICATES, CertificateWatch(found).run, limit_seconds=120)

    def _watches(self, stop: StopSignals) -> Iterator[Loop]:
        """What keeps the caches true."""
        trigger, seconds = self._parts.trigger, self._settings.resync_seconds
        # kopf takes the signals over when it starts, and would stop the watch before the lease is released.
        for scope in trigger.scopes:
            yield Loop(LoopName.WATCH, partial(scope.run, on_started=stop.listen))
        yield Loop(LoopName.WATCH, partial(trigger.servers.run, on_started=stop.listen))
        yield Loop(LoopName.SERVERS, self._parts.reader.run)
        yield Loop(LoopName.RESYNC, partial(trigger.resync, seconds), limit_seconds=seconds + 60)

    async def _lead(self, pulse: Pulse) -> None:
        """Hold the lease and work, term after term."""
        parts, leadership = self._parts, self._parts.leadership
        # The Lease says from its creation on what the others must know of us.
        await until_answered(parts.neighbors.learn, pulse)
        while True:
            epoch = await leadership.acquire(pulse.beat)
            parts.neighbors.begin(leadership.predecessor.lease)
            term = self._term = begin_term(parts, epoch)
            parts.handover.begin(term.backends.servers, leadership.predecessor)
            holding = asyncio.create_task(leadership.hold(pulse.beat), name="hold the lease")
            try:
                if await _is_first(term.neighbors.first_look(pulse), holding):
                    await self._work(term, holding, pulse)
                await holding
            finally:
                await _cancelled(holding)
                await term.end()
            # Not after a cancellation: then the lease is released, with what its successor has to know.
            parts.handover.end()
            self._term = None

    async def _work(self, term: Term, holding: asyncio.Task[None], pulse: Pulse) -> None:
        """Work until the lease is lost, which is the end of `holding`."""
        with pulse.item("the first list of LiveKit's rooms"):
            await term.pollers.first_lists(_FIRST_LISTS_SECONDS)
        if self._health.is_stopping:
            await asyncio.Future()  # until this loop is cancelled: no key is taken any longer
        async with supervised(self._parts.pulses, *term.loops()):
            term.worker.start()
            term.pollers.tell_of_lost()
            self._enqueue_asked_for()
            # What would be decided without the rooms, and who is in them, would be decided once more with that.
            with pulse.item("the first list of LiveKit's rooms"):
                if not await _is_first(term.pollers.first_lists(), holding):
                    return
            self._enqueue_all(but=set(term.pollers.to_be_counted()))
            is_lost, _ = await asyncio.wait({holding}, timeout=_FIRST_COUNTS_SECONDS)
            if not is_lost:
                self._parts.queue.feed(list(term.pollers.to_be_counted()), Wake.START)
            await holding

    def _enqueue_asked_for(self) -> None:
        """Users who skipped or were matched while no operator worked wait behind no call that goes on."""
        for namespace, name in self._parts.calls.asked_for():
            self._parts.queue.enqueue(Key(MATCH, namespace, name), Wake.OBJECT)

    def _enqueue_all(self, but: Collection[Key] = ()) -> None:
        """Feed all keys `but` those that are woken soon for another reason."""
        caches = self._parts.caches
        keys = (Key(kind, namespace, name) for kind, cache in caches.items() for namespace, name in cache.names())
        self._parts.queue.feed(in_turn(key for key in keys if key not in but), Wake.START)

    def _clock_was_set(self, by_seconds: float) -> None:
        """Open windows compare moments of two clocks now: their ends move with the clock."""
        log.warning("the API server's clock was set; open windows move with it", by_seconds=round(by_seconds, 3))
        now = self._parts.clock.now()
        self._parts.silences.clock_was_set(now - timedelta(seconds=by_seconds), now)
        if self._term is not None:
            self._term.clock_was_set(by_seconds)
            self._enqueue_all()
        # Answers that are under way carry the time of the old clock. None is under way after this.
        # A probe takes 3 s longer than other requests.
        longest = self._parts.settings.livekit_timeout_seconds + 3
        asyncio.get_running_loop().call_later(longest + 1, self._start_over)

    def _start_over(self) -> None:
        if self._term is not None:
            self._term.start_over()
            self._enqueue_all()


async def _is_first(doing: Coroutine[Any, Any, None], other: asyncio.Task[None]) -> bool:
    """Run `doing` to its end, or cancel it when `other` ends before. Returns whether `doing` was first."""
    task = asyncio.create_task(doing, name="first look")
    try:
        await asyncio.wait({task, other}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        await _cancelled(task)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_operator(settings: Settings, recipes: Recipes = RECIPES) -> AsyncIterator[Operator]:
    """An operator for the kinds of `recipes`, with its sessions. They are closed at the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connected())
        tell_of_start(settings, connection.server)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=100, keepalive_timeout=60.0), cookie_jar=aiohttp.DummyCookieJar()
            )
        )
        parts = wire(settings, connection, http, recipes)
        await stack.enter_async_context(traced(settings, parts.replica))
        stack.push_async_callback(parts.redis.close)
        yield Operator(parts)


async def serve(settings: Settings) -> None:
    """Run one operator until a signal asks for its end."""
    async with open_operator(settings) as operator:
        await operator.run()
