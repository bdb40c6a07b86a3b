"""Everything outside the process that a reconcile may touch, bundled once at the root and handed down.

`observe` reads through it, `act` writes through it; `plan` and `status` never see it. Built by `app`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from controller.api.match import Match
from controller.api.names import GROUP as API_GROUP
from controller.api.names import MATCH, ROOM, VERSION
from controller.api.room import Room
from controller.backends.lease import Leadership
from controller.backends.pools import Pools
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clients.livekit import LiveKitClient
from controller.clock import Clock
from controller.facts.match import ServerFacts, TokensFacts
from controller.facts.observation import Absent, Observation, Present, Unknown
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from controller.views.finished import FinishedMatches
from controller.views.heartbeats import HeartbeatView
from controller.views.livekit import LiveKitView

MATCHES = Resource(API_GROUP, VERSION, MATCH.plural)
ROOMS = Resource(API_GROUP, VERSION, ROOM.plural)
SECRETS = Resource("", "v1", "secrets")


@dataclass(frozen=True, slots=True)
class LiveKitServer:
    """One LiveKit server: how it is called, where people connect, how it is asked, and what is known of it."""

    name: str
    public_url: str
    api_key: str
    api_secret: str = field(repr=False)
    client: LiveKitClient
    view: LiveKitView

    def facts(self) -> ServerFacts:
        """What planners are told of it."""
        view = self.view
        return ServerFacts(self.name, self.public_url, view.failure, view.answers_since, view.silent_since)


class TokensMemory:
    """Which tokens this process delivered or took away: we may write Secrets, not read them.

    What it does not know (after a restart) is done again; both are idempotent.
    """

    def __init__(self) -> None:
        self._known: dict[str, Observation[TokensFacts]] = {}

    def get(self, uid: str) -> Observation[TokensFacts] | None:
        """What this process did last for the Match `uid`, or None."""
        return self._known.get(uid)

    def delivered(self, uid: str, tokens: TokensFacts, at: datetime) -> None:
        """The tokens are where they were to be put."""
        self._known[uid] = Present(tokens, at)

    def revoked(self, uid: str, at: datetime) -> None:
        """The tokens are gone from wherever they were."""
        self._known[uid] = Absent(at)

    def lost(self, uid: str, at: datetime) -> None:
        """Redis has lost its data, and with it the tokens that were there."""
        self._known[uid] = Unknown(at, "Redis lost its data; tokens are delivered anew")

    def forget(self, uid: str) -> None:
        """The Match itself is gone."""
        self._known.pop(uid, None)


@dataclass(frozen=True, slots=True)
class Backends:
    """Clients, caches and the lease."""

    cluster_id: str
    clock: Clock
    kubernetes: KubernetesClient
    livekit: LiveKitServer
    pools: Pools
    matches: ObjectCache[Match]
    rooms: ObjectCache[Room]
    tokens: TokensMemory
    leadership: Leadership
    heartbeats: HeartbeatView
    audit: AuditView
    calls: CallIndex
    finished: FinishedMatches
    serves_flags: bool = True
