"""All parts of one replica that outlive its terms, made once and in order: each gets what it depends on.

What a leader knows is made for each term (`app.term`). What happens later, in which order parts start and stop, is in
`app.life`; the HTTP servers are in `app.endpoints`. The followers of the caches that stay are registered in one place
(`_follow`): it answers what happens when an object changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp

from controller.announce.announcer import Announcer
from controller.announce.error_records import ErrorRecords
from controller.announce.events import EventPoster
from controller.api.livekitserver import DEFAULT_SERVER
from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM, ResourceKind
from controller.app.start import without_user
from controller.backends.handover import Handover
from controller.backends.identity import ReplicaIdentity
from controller.backends.lease import Leadership, LeaseTimes
from controller.backends.namespaces import Namespaces
from controller.backends.neighbors import Neighbors
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.clients.connection import KubernetesConnection
from controller.clients.kubernetes import KubernetesClient
from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.clients.livekit_tls import Certificates
from controller.clients.redis.client import Redis
from controller.clients.redis.epochs import EpochStore
from controller.clients.request import LIMITS
from controller.clock import ServerClock
from controller.errors import Backend, BackendError, LeadershipLost
from controller.loop.recipes import Recipes
from controller.loop.record import Recorder
from controller.loop.work_queue import WorkQueue
from controller.settings import Settings
from controller.settings.redis_source import RedisSource
from controller.telemetry.health import Health
from controller.telemetry.logs import also_blank
from controller.telemetry.pulse import Pulses
from controller.triggers.kubernetes import KubernetesTrigger
from controller.triggers.router import Router
from controller.triggers.server_reader import ServerReader
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from controller.views.census import censuses
from controller.views.finished import FinishedMatches
from controller.views.lost_fields import LostFields
from controller.views.placements import RoomPlacements
from controller.views.silences import SilenceRecord


@dataclass(frozen=True, slots=True)
class Parts:
    """One replica, wired; nothing of it runs yet.

    `configs` are the LiveKit servers that are configured, and `livekit_client` makes a client for one of them.
    `silences` are those of Redis.
    """

    settings: Settings
    recipes: Recipes
    replica: str
    clock: ServerClock
    connection: KubernetesConnection
    kubernetes: KubernetesClient
    redis: Redis
    epochs: EpochStore
    configs: ServerConfigs
    reader: ServerReader
    livekit_client: Callable[[ServerConfig], LiveKitClient]
    placements: RoomPlacements
    caches: Mapping[ResourceKind, ObjectCache[Any]]
    calls: CallIndex
    finished: FinishedMatches
    lost_fields: LostFields
    namespaces: Namespaces
    neighbors: Neighbors
    silences: SilenceRecord
    leadership: Leadership
    handover: Handover
    queue: WorkQueue
    router: Router
    announcer: Announcer
    recorder: Recorder | None
    trigger: KubernetesTrigger
    events: EventPoster
    errors: ErrorRecords
    health: Health
    pulses: Pulses


def wire(settings: Settings, connection: KubernetesConnection, http: aiohttp.ClientSession, recipes: Recipes) -> Parts:
    """Make all parts of a replica for the kinds of `recipes`. Call it inside a running event loop.

    `connection` and `http` are opened and closed by the caller; `Parts.redis` is to be closed at the end.
    """
    clock, silences = ServerClock(), SilenceRecord()
    identity = ReplicaIdentity.of_this_process()
    kubernetes = KubernetesClient(connection, clock)
    neighbors = Neighbors(
        kubernetes,
        clock,
        namespace=settings.namespace,
        name=settings.lease_name,
        namespaces=settings.namespaces,
        cluster_id=settings.cluster_id,
    )
    queue = WorkQueue(serves=neighbors.serves)
    caches: dict[ResourceKind, ObjectCache[Any]] = {kind: ObjectCache(recipe.model) for kind, recipe in recipes.items()}
    servers = caches[LIVEKIT_SERVER]
    lost_fields = LostFields()
    configs = ServerConfigs(_of_settings(settings), lost_fields)
    placements = RoomPlacements(neighbors.serves)
    router = Router(settings.cluster_id, queue.enqueue)
    handover = Handover(silences, clock)
    calls = CallIndex(neighbors.serves)
    finished = FinishedMatches(settings.max_finished_per_namespace, router.match_over_limit)
    events = EventPoster(kubernetes, clock, str(identity))
    redis = Redis(RedisSource(settings, also_blank), lambda seconds: _was_silent(silences, seconds, clock))
    kubernetes.introduce(without_user(connection.server))
    redis.introduce(without_user(settings.redis_url))
    epochs = EpochStore(redis, settings.cluster_id, settings.lease)
    errors = ErrorRecords(redis, settings.cluster_id, clock, str(identity))
    pulses = Pulses(everyday=(BackendError, LeadershipLost), reported=errors.loop_failed)
    _follow(caches, calls, finished, placements, router)
    health = Health(pulses, connection.problem)
    health.show(censuses(caches[MATCH], caches[ROOM], clock.now))
    return Parts(
        settings=settings,
        recipes=recipes,
        replica=str(identity),
        clock=clock,
        connection=connection,
        kubernetes=kubernetes,
        redis=redis,
        epochs=epochs,
        configs=configs,
        reader=ServerReader(servers, configs, kubernetes, settings.namespace, also_blank),
        livekit_client=partial(_livekit_client, settings, http, clock),
        placements=placements,
        caches=caches,
        calls=calls,
        finished=finished,
        lost_fields=lost_fields,
        namespaces=Namespaces(kubernetes),
        neighbors=neighbors,
        silences=silences,
        leadership=Leadership(
            kubernetes,
            clock,
            identity,
            namespace=settings.namespace,
            name=settings.lease_name,
            times=LeaseTimes(settings.lease_seconds, settings.lease_seconds / 5),
            handover=handover.write,
            mark=neighbors.mark,
            highest=partial(_highest_epoch, epochs),
        ),
        handover=handover,
        queue=queue,
        router=router,
        announcer=Announcer(events, clock, errors),
        recorder=Recorder(settings.record_dir, recipes) if settings.record_dir is not None else None,
        trigger=KubernetesTrigger(
            connection,
            kubernetes,
            {kind: cache for kind, cache in caches.items() if kind is not LIVEKIT_SERVER},
            settings.namespaces,
            {LIVEKIT_SERVER: servers},
            settings.namespace,
        ),
        events=events,
        errors=errors,
        health=health,
        pulses=pulses,
    )


def _follow(
    caches: Mapping[ResourceKind, ObjectCache[Any]],
    calls: CallIndex,
    finished: FinishedMatches,
    placements: RoomPlacements,
    router: Router,
) -> None:
    """Register everything of the replica that follows the caches, in the order of the calls.

    Views take a new version in before the router wakes a key for it.
    """
    caches[MATCH].follow(kept=calls.kept, gone=calls.gone)
    caches[MATCH].follow(kept=finished.kept, gone=finished.gone)
    caches[MATCH].follow(gone=placements.match_gone)
    caches[ROOM].follow(kept=placements.kept, unreadable=placements.unreadable, gone=placements.gone)
    for kind, cache in caches.items():
        router.follow_cache(kind, cache)


async def _highest_epoch(epochs: EpochStore, near: int) -> int:
    return (await epochs.read(near)).highest


def _was_silent(record: SilenceRecord, seconds: float, clock: ServerClock) -> None:
    now = clock.now()
    record.add(now - timedelta(seconds=seconds), now)


def _of_settings(settings: Settings) -> ServerConfig:
    """The server that the settings describe."""
    return ServerConfig(
        DEFAULT_SERVER, settings.api_url.rstrip("/"), settings.public_url, Credentials(_api_keys(settings))
    )


def _livekit_client(
    settings: Settings, http: aiohttp.ClientSession, clock: ServerClock, config: ServerConfig
) -> LiveKitClient:
    key, certificates = config.credentials.keys.newest, Certificates(settings.livekit_tls())
    certificates.trust(config.credentials.ca)
    client = LiveKitClient(
        http,
        config.url,
        key.name,
        key.secret,
        clock,
        limits=replace(LIMITS[Backend.LIVEKIT], deadline_seconds=settings.livekit_timeout_seconds),
        certificates=certificates,
        server=config.name,
    )
    client.introduce(without_user(config.url))
    return client


def _api_keys(settings: Settings) -> ApiKeys:
    newest = ApiKey(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    if not settings.livekit_old_api_key:
        return ApiKeys(newest)
    return ApiKeys(newest, (ApiKey(settings.livekit_old_api_key, settings.livekit_old_api_secret.get_secret_value()),))
