"""All parts of one replica, made once and in order: each part gets in its constructor what it depends on.

What happens later, in which order parts start and stop, is in `app.life`; the HTTP servers are in `app.endpoints`.
The followers of the caches are registered in one place (`_follow`): it answers what happens when an object changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp

from controller.announce.announcer import Announcer
from controller.announce.events import EventPoster
from controller.api.livekitserver import DEFAULT_SERVER
from controller.api.names import MATCH, ResourceKind
from controller.backends.bundle import MATCHES, Backends
from controller.backends.handover import Handover
from controller.backends.identity import ReplicaIdentity
from controller.backends.lease import Leadership, LeaseTimes
from controller.backends.namespaces import Namespaces
from controller.backends.pools import Pools
from controller.backends.restores import Restorer
from controller.backends.servers import Server, Servers
from controller.backends.tokens import IssuedTokens
from controller.clients.connection import KubernetesConnection
from controller.clients.kubernetes import KubernetesClient
from controller.clients.livekit import LiveKitClient
from controller.clients.redis.client import Redis
from controller.clients.redis.requests import Served
from controller.clock import ServerClock
from controller.errors import BackendError, LeadershipLost, NotFound
from controller.loop.budgets import Budgets
from controller.loop.key import Key
from controller.loop.recipes import Recipes
from controller.loop.reconcile import Reconciler
from controller.loop.record import Recorder
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.loop.worker import Worker
from controller.settings import Settings
from controller.telemetry.health import Health
from controller.telemetry.pulse import Pulses
from controller.triggers.kubernetes import KubernetesTrigger
from controller.triggers.poll import Poller
from controller.triggers.router import Router
from controller.version import VERSION
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from controller.views.finished import FinishedMatches
from controller.views.heartbeats import HeartbeatView
from controller.views.livekit import LiveKitView
from controller.views.silences import SilenceRecord

# The part of the worker's hands that bulk keys may hold: a key that a user waits for finds a free hand.
_BULK_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Parts:
    """One replica, wired; nothing of it runs yet."""

    settings: Settings
    replica: str
    clock: ServerClock
    connection: KubernetesConnection
    redis: Redis
    backends: Backends
    queue: WorkQueue
    budgets: Budgets
    router: Router
    worker: Worker
    handover: Handover
    pollers: tuple[Poller, ...]
    restorer: Restorer
    trigger: KubernetesTrigger
    events: EventPoster
    health: Health
    pulses: Pulses


def wire(settings: Settings, connection: KubernetesConnection, http: aiohttp.ClientSession, recipes: Recipes) -> Parts:
    """Make all parts of a replica for the kinds of `recipes`. Call it inside a running event loop.

    `connection` and `http` are opened and closed by the caller; `Parts.redis` is to be closed at the end.
    """
    pulses, silences = Pulses(everyday=(BackendError, LeadershipLost)), SilenceRecord()
    clock = ServerClock()
    queue = WorkQueue(bulk_in_hand=max(1, int(_BULK_SHARE * settings.concurrency)))
    redis = Redis.from_url(settings.redis_url, lambda seconds: _was_silent(silences, seconds, clock))
    identity = ReplicaIdentity.of_this_process()
    kubernetes = KubernetesClient(connection, clock)
    caches = {kind: ObjectCache(recipe.model) for kind, recipe in recipes.items()}
    servers = Servers([_default_server(settings, http, clock)])
    router = Router(settings.cluster_id, servers, queue.enqueue)
    tokens = IssuedTokens(clock)
    handover = Handover(servers, silences, clock)
    leadership = Leadership(
        kubernetes,
        clock,
        identity,
        namespace=settings.namespace,
        name=settings.lease_name,
        times=LeaseTimes(settings.lease_seconds, settings.lease_seconds / 5),
        handover=handover.write,
    )
    calls = CallIndex()
    restorer = Restorer(
        caches[MATCH],
        calls,
        clock,
        restored=(tokens.match_restored, router.match_restored),
        wake=router.match_differs,
        uid_of=partial(_match_uid, kubernetes),
    )
    pools = Pools(
        redis,
        settings.cluster_id,
        served=Served(VERSION, settings.heartbeat_seconds),
        restorer=restorer,
        confirm=leadership.confirm,
        outdated=leadership.outdated,
        opened=lambda namespace: queue.feed(_keys_in(caches, namespace), Wake.POOL),
    )
    backends = Backends(
        cluster_id=settings.cluster_id,
        clock=clock,
        kubernetes=kubernetes,
        servers=servers,
        pools=pools,
        namespaces=Namespaces(kubernetes),
        caches=caches,
        tokens=tokens,
        leadership=leadership,
        heartbeats=HeartbeatView(
            settings.heartbeat_seconds * settings.heartbeat_misses,
            decide_alone=settings.heartbeat_decides == "Alone",
        ),
        audit=AuditView(),
        calls=calls,
        finished=FinishedMatches(settings.max_finished_per_namespace, router.match_over_limit),
        silences=silences,
        serves_flags=settings.legacy_flags,
    )
    events = EventPoster(kubernetes, clock, str(identity))
    recorder = Recorder(settings.record_dir, recipes) if settings.record_dir is not None else None
    budgets = Budgets(settings.concurrency, lambda key: queue.enqueue(key, Wake.SLOT))
    reconciler = Reconciler(recipes, backends, queue, budgets, Announcer(events, clock), recorder)
    _follow(backends, router, reconciler)
    return Parts(
        settings=settings,
        replica=str(identity),
        clock=clock,
        connection=connection,
        redis=redis,
        backends=backends,
        queue=queue,
        budgets=budgets,
        router=router,
        worker=Worker(reconciler, queue, clock, concurrency=settings.concurrency),
        handover=handover,
        pollers=tuple(Poller(server, router, clock, settings.cluster_id, settings.poll_seconds) for server in servers),
        restorer=restorer,
        trigger=KubernetesTrigger(connection, kubernetes, caches, settings.namespaces),
        events=events,
        health=Health(pulses),
        pulses=pulses,
    )


def _follow(backends: Backends, router: Router, reconciler: Reconciler) -> None:
    """Register everything that follows the caches and the servers, in the order of the calls.

    Views take a new version in before the router wakes a key for it.
    """
    matches = backends.matches
    matches.follow(kept=backends.calls.kept, gone=backends.calls.gone)
    matches.follow(kept=backends.finished.kept, gone=backends.finished.gone)
    matches.follow(gone=backends.tokens.match_gone)
    matches.follow(gone=backends.audit.match_gone)
    for kind, cache in backends.caches.items():
        cache.follow(gone=reconciler.forget)
        router.follow_cache(kind, cache)
    router.follow_servers()


def _keys_in(caches: Mapping[ResourceKind, ObjectCache[Any]], namespace: str) -> Iterator[Key]:
    """The keys of all objects in one namespace."""
    for kind, cache in caches.items():
        yield from (Key(kind, of, name) for of, name in cache.names() if of == namespace)


async def _match_uid(kubernetes: KubernetesClient, namespace: str, name: str) -> str | None:
    """The UID of the Match with this name; None if Kubernetes has none. Raises BackendError."""
    try:
        return str((await kubernetes.get(MATCHES, namespace, name))["metadata"]["uid"])
    except NotFound:
        return None


def _was_silent(record: SilenceRecord, seconds: float, clock: ServerClock) -> None:
    now = clock.now()
    record.add(now - timedelta(seconds=seconds), now)


def _default_server(settings: Settings, http: aiohttp.ClientSession, clock: ServerClock) -> Server:
    secret = settings.livekit_api_secret.get_secret_value()
    client = LiveKitClient(http, settings.api_url, settings.livekit_api_key, secret, clock)
    return Server(DEFAULT_SERVER, settings.public_url, settings.livekit_api_key, secret, client, LiveKitView())
