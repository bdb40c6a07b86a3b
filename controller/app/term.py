"""One term: everything that a leader knows and decides by, made when the lease is won and dropped when it is lost.

A replica that leads again an hour later must not end a call for a heartbeat that was missing then. So the views, the
pools, the worker with its backoffs and deadlines, and the readers belong to a term. What does not decide stays with the
replica (`app.wiring`): clients, caches and their indexes, the router, the queue. What crosses terms is on the Lease
(`backends.handover`), in Redis and in the statuses. Neighbors: `app.life` begins and ends terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from controller.api.names import MATCH, ResourceKind
from controller.app.pollers import Pollers
from controller.app.supervisor import Loop
from controller.app.sweeps import make_sweeper
from controller.app.wiring import Parts
from controller.backends.bundle import Backends
from controller.backends.objects import Objects
from controller.backends.pools import Pools
from controller.backends.restores import Restorer
from controller.backends.servers import Servers
from controller.backends.tokens import IssuedTokens
from controller.clients.redis.requests import Served
from controller.loop.budgets import Budgets
from controller.loop.key import Key
from controller.loop.pace import BulkPace, bulk_hands
from controller.loop.reconcile import Reconciler
from controller.loop.recovery import Recovery
from controller.loop.waiting import breaker_of
from controller.loop.wakes import Wake
from controller.loop.worker import Worker
from controller.telemetry import metrics
from controller.telemetry.pulse import LoopName
from controller.triggers.audit import Auditor
from controller.triggers.drain import DrainPacer
from controller.triggers.flags import FlagPoller
from controller.triggers.heartbeats import HeartbeatReader
from controller.triggers.keeper import SEARCH_AGAIN_SECONDS, PoolKeeper
from controller.triggers.neighbors import NeighborWatch
from controller.triggers.outages import OutageWatch
from controller.triggers.people import PeopleCounter
from controller.triggers.poll import Poller
from controller.triggers.serving import RENEW_SECONDS, Serving
from controller.triggers.signals import SignalSource
from controller.triggers.stream import StreamReader, WebhookSource
from controller.triggers.tokens import TokenChecker
from controller.version import VERSION
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.drains import DrainTurns
from controller.views.heartbeats import HeartbeatView


@dataclass(frozen=True, slots=True)
class Term:
    """The parts of one term. `unfollow` takes its followers off what stays with the replica."""

    parts: Parts
    backends: Backends
    restorer: Restorer
    reconciler: Reconciler
    worker: Worker
    pollers: Pollers
    neighbors: NeighborWatch
    unfollow: tuple[Callable[[], None], ...]

    def clock_was_set(self, by_seconds: float) -> None:
        """Windows that are open compare moments of two clocks now: their ends move with the clock."""
        now, by = self.backends.clock.now(), timedelta(seconds=by_seconds)
        for server in self.backends.servers:
            server.view.silences.clock_was_set(now - by, now)
        self.reconciler.clock_was_set(by)
        self.worker.clock_was_set(by)
        self.start_over()

    def start_over(self) -> None:
        """Forget what was seen of LiveKit: its times cannot be compared with those to come."""
        for server in self.backends.servers:
            server.view.restart(self.backends.clock.now())
        for poller in self.pollers:
            poller.clock_was_set()

    async def end(self) -> None:
        """Stop the work at once, and drop what was known."""
        await self.worker.stop(grace_seconds=0)
        await self.backends.pools.close()
        for unfollow in self.unfollow:
            unfollow()
        metrics.no_longer_leading()

    def loops(self) -> Iterator[Loop]:
        """What the leader reads beside its watch: LiveKit, streams, heartbeats, tokens, records, flags."""
        parts, settings, backends, router = self.parts, self.parts.settings, self.backends, self.parts.router
        seconds, pools = settings.poll_seconds, backends.pools
        yield Loop(LoopName.POLLERS, self.pollers.run)
        sources = (
            WebhookSource(parts.redis, settings.cluster_id, parts.replica, router),
            SignalSource(pools, router, backends.clock, settings.cluster_id, parts.errors),
        )
        yield Loop(LoopName.STREAMS, StreamReader(parts.redis, sources, pools.namespaces).run)
        heartbeats = HeartbeatReader(backends, router, min(5.0, settings.heartbeat_seconds / 2))
        yield Loop(LoopName.HEARTBEATS, heartbeats.run)
        yield Loop(LoopName.AUDIT, Auditor(backends, router, seconds).run, limit_seconds=seconds + 60)
        namespaces = parts.trigger.read_namespaces if settings.namespaces else None
        keeper = PoolKeeper(backends, seconds, namespaces)
        yield Loop(LoopName.POOLS, keeper.run, limit_seconds=seconds + 60)
        if namespaces is None:
            yield Loop(LoopName.SEARCH, keeper.run_search, limit_seconds=SEARCH_AGAIN_SECONDS + 60)
        if settings.sweep:
            sweeper = make_sweeper(parts, backends, self.restorer)
            yield Loop(LoopName.SWEEP, sweeper.run, limit_seconds=settings.sweep_seconds + 120)
        serving = Serving(backends, settings.namespaces)
        yield Loop(LoopName.SERVED, serving.renew, limit_seconds=RENEW_SECONDS + 60)
        yield Loop(LoopName.UNSERVED, serving.listen)
        yield Loop(LoopName.ASKED, serving.open_asked)
        yield Loop(LoopName.PEOPLE, PeopleCounter(pools, backends.clock.now).run)
        yield Loop(LoopName.NEIGHBORS, self.neighbors.run)
        checker = TokenChecker(backends, router, seconds, parts.neighbors.serves)
        yield Loop(LoopName.TOKENS, checker.run, limit_seconds=seconds + 60)
        pacer = DrainPacer(backends, router, settings.drain_calls_per_second, settings.namespace)
        yield Loop(LoopName.DRAIN, pacer.run)
        if settings.legacy_flags:
            yield Loop(LoopName.FLAGS, FlagPoller(backends, router).run)


def begin_term(parts: Parts, epoch: int) -> Term:
    """Make all parts of a term of a replica that has won the lease under `epoch`. Nothing of it runs yet."""
    settings, clock, caches, router, queue = parts.settings, parts.clock, parts.caches, parts.router, parts.queue
    servers = Servers((), parts.placements, unread=partial(_unread_namespaces, parts))
    tokens, audit = IssuedTokens(clock, caches[MATCH].has), AuditView()
    objects = Objects(parts.kubernetes)
    restorer = Restorer(
        caches[MATCH],
        parts.calls,
        clock,
        restored=(tokens.match_restored, router.match_restored),
        wake=router.match_differs,
        uid_of=objects.match_uid,
        uids_in=objects.match_uids,
    )
    pools = Pools(
        parts.redis,
        settings.cluster_id,
        epoch,
        epochs=parts.epochs,
        served=Served(VERSION, settings.heartbeat_seconds),
        restorer=restorer,
        confirm=parts.leadership.confirm,
        outdated=parts.leadership.outdated,
        opened=lambda namespace: queue.feed(_keys_in(caches, namespace), Wake.POOL),
        foreign=parts.neighbors.trouble,
    )
    backends = Backends(
        cluster_id=settings.cluster_id,
        clock=clock,
        kubernetes=parts.kubernetes,
        servers=servers,
        pools=pools,
        namespaces=parts.namespaces,
        caches=caches,
        tokens=tokens,
        leadership=parts.leadership,
        heartbeats=HeartbeatView(
            settings.heartbeat_seconds * settings.heartbeat_misses,
            decide_alone=settings.heartbeat_decides == "Alone",
        ),
        audit=audit,
        drains=DrainTurns(),
        calls=parts.calls,
        finished=parts.finished,
        lost_fields=parts.lost_fields,
        silences=parts.silences,
        redis=parts.redis,
        release_after=timedelta(seconds=settings.release_seconds),
        serves_flags=settings.legacy_flags,
    )
    budgets = Budgets(settings.concurrency, lambda key: queue.enqueue(key, Wake.SLOT))
    reconciler = Reconciler(parts.recipes, backends, queue, budgets, parts.announcer, parts.recorder)
    recovery = Recovery(parts.errors, backends)
    worker = Worker(
        reconciler,
        queue,
        clock,
        recovery,
        breaker_of=partial(breaker_of, backends=backends),
        concurrency=settings.concurrency,
        bulk_pace=BulkPace(bulk_hands(settings.concurrency)),
    )
    pollers = Pollers(
        parts.configs,
        servers,
        router,
        parts.pulses,
        client=parts.livekit_client,
        poller=lambda server: Poller(
            server,
            router,
            clock,
            settings.cluster_id,
            settings.poll_seconds,
            parts.errors,
            key_refused=parts.reader.key_was_refused,
        ),
        limit_seconds=settings.poll_seconds + 60,
    )
    return Term(
        parts=parts,
        backends=backends,
        restorer=restorer,
        reconciler=reconciler,
        worker=worker,
        pollers=pollers,
        neighbors=NeighborWatch(parts.neighbors, backends, queue, parts.events),
        unfollow=(
            caches[MATCH].follow(gone=tokens.match_gone),
            caches[MATCH].follow(gone=audit.match_gone),
            *(cache.follow(gone=reconciler.forget) for cache in caches.values()),
            parts.announcer.term_over,
            pollers.end,
            queue.follow(worker.pump),
            OutageWatch(parts.redis.breaker, lambda: queue.feed(_keys(caches), Wake.STALENESS)).start(),
        ),
    )


def _unread_namespaces(parts: Parts) -> list[str]:
    """The namespaces that we serve and whose objects were not read yet."""
    return [namespace for namespace in parts.trigger.unread_namespaces() if parts.neighbors.serves(namespace)]


def _keys(caches: Mapping[ResourceKind, ObjectCache[Any]]) -> Iterator[Key]:
    """The keys of all objects."""
    for kind, cache in caches.items():
        yield from (Key(kind, namespace, name) for namespace, name in cache.names())


def _keys_in(caches: Mapping[ResourceKind, ObjectCache[Any]], namespace: str) -> Iterator[Key]:
    """The keys of all objects in one namespace."""
    return (key for key in _keys(caches) if key.namespace == namespace)
