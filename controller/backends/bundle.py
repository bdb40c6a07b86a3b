"""Everything outside the process that a reconcile may touch, bundled once by `app.wiring` and handed down.

`observe` reads through it, `act` writes through it; `plan` and `status` never see it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controller.api.match import Match
from controller.api.names import GROUP, MATCH, ROOM, VERSION, ResourceKind
from controller.api.room import Room
from controller.backends.lease import Leadership
from controller.backends.namespaces import Namespaces
from controller.backends.pools import Pools
from controller.backends.servers import Servers
from controller.backends.tokens import IssuedTokens
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clients.redis.client import Redis
from controller.clock import Clock
from controller.facts.match import Patience
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from controller.views.drains import DrainTurns
from controller.views.finished import FinishedMatches
from controller.views.heartbeats import HeartbeatView
from controller.views.lost_fields import LostFields
from controller.views.silences import SilenceRecord


@functools.cache
def resource_of(kind: ResourceKind) -> Resource:
    """Where the API server has the objects of one of our kinds."""
    return Resource(GROUP, VERSION, kind.plural)


MATCHES = resource_of(MATCH)
ROOMS = resource_of(ROOM)
SECRETS = Resource("", "v1", "secrets")


@dataclass(frozen=True, slots=True)
class Backends:
    """Clients, views and the lease. `caches` has one cache per kind of the registry (`loop.recipes`); `silences` are
    those of Redis. A deletion waits for `release_after` for a backend that does not answer.
    """

    cluster_id: str
    clock: Clock
    kubernetes: KubernetesClient
    servers: Servers
    pools: Pools
    namespaces: Namespaces
    caches: Mapping[ResourceKind, ObjectCache[Any]]
    tokens: IssuedTokens
    leadership: Leadership
    heartbeats: HeartbeatView
    audit: AuditView
    drains: DrainTurns
    calls: CallIndex
    finished: FinishedMatches
    lost_fields: LostFields
    silences: SilenceRecord
    redis: Redis
    release_after: timedelta
    serves_flags: bool = True

    def patience(self, namespace: str, now: datetime) -> Patience:
        """How long a deletion in `namespace` waits, and since when Redis has not answered about its pool."""
        seconds = self.redis.silent_seconds(self.pools.unbound(namespace).keys.live())
        return Patience(self.release_after, now - timedelta(seconds=seconds) if seconds is not None else None)

    @property
    def matches(self) -> ObjectCache[Match]:
        """The cache of Matches."""
        return self.caches[MATCH]

    @property
    def rooms(self) -> ObjectCache[Room]:
        """The cache of Rooms."""
        return self.caches[ROOM]
