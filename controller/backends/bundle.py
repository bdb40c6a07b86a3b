"""Everything outside the process that a reconcile may use, in one bundle that `app` builds.

`observe` reads through it and `act` writes through it; `plan` and `status` never see it.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.api.match import Match
from controller.api.names import GROUP as API_GROUP
from controller.api.names import MATCH, ROOM, VERSION
from controller.api.room import Room
from controller.backends.lease import Leadership
from controller.backends.pools import Pools
from controller.backends.servers import Server
from controller.backends.tokens import IssuedTokens
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clock import Clock
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from controller.views.finished import FinishedMatches
from controller.views.heartbeats import HeartbeatView

MATCHES = Resource(API_GROUP, VERSION, MATCH.plural)
ROOMS = Resource(API_GROUP, VERSION, ROOM.plural)
SECRETS = Resource("", "v1", "secrets")


@dataclass(frozen=True, slots=True)
class Backends:
    """The clients, the views and the lease."""

    cluster_id: str
    clock: Clock
    kubernetes: KubernetesClient
    livekit: Server
    pools: Pools
    matches: ObjectCache[Match]
    rooms: ObjectCache[Room]
    tokens: IssuedTokens
    leadership: Leadership
    heartbeats: HeartbeatView
    audit: AuditView
    calls: CallIndex
    finished: FinishedMatches
    serves_flags: bool = True
