"""Makes many live calls in many namespaces, as fast as the operator takes them.

The operator sees what it sees in production, because it makes everything itself: the users wait in the queue, the
Matches are created over the API, and no status, Secret, Room, ledger or room on LiveKit is written by anything but the
operator. Two things stand in for people. Signed webhooks say that both participants came; LiveKit's rooms are there,
and empty, so its lists say that they are not (such a Match is Reconnecting, and costs the same as an Active one). One
write per pool and interval sends the beats of all its users, as their gateways would.

It is fast because nothing is awaited one by one: Matches are created until some hundred of them wait to be Ready, and
the names of all rooms come from one list of LiveKit.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import aiohttp
import redis.asyncio as aioredis

from benchmarks.access import Access, call
from benchmarks.life.calls import JOINED, STAYING, enqueue
from benchmarks.life.capacity import BEAT_SECONDS, beside
from benchmarks.life.tap import Webhooks
from benchmarks.live.replica import Replica
from benchmarks.load import Batch, in_flight, match_manifest
from benchmarks.watcher import MatchFailed
from controller.api.names import MANAGED_LABEL, MATCH
from controller.api.phases import MatchPhase
from controller.clients.livekit import LiveKitClient
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys

_AT_ONCE = 32
_PORTION = 100
# As many may wait to be Ready while the next portion is created.
_BEHIND = 200
_PATIENCE_SECONDS = 1800.0
_LOOK_AGAIN_SECONDS = 0.5
_UP = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})
_OVER = (MatchPhase.TERMINATING, MatchPhase.ENDED, MatchPhase.FAILED)
_MATCHES = re.compile(rf'^roomkeeper_objects{{kind="{MATCH.kind}",phase="(\w+)"}} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class LiveCall:
    """A Match that was created, and its two users. `namespace` is the number of its namespace."""

    namespace: int
    name: str
    users: tuple[str, str]


@dataclass
class Calls:
    """All calls of a run, by the UID of the Match."""

    access: Access
    namespaces: int
    by_uid: dict[str, LiveCall] = field(default_factory=dict)
    users: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """All users by the number of their namespace."""

    def add(self, uid: str, made: LiveCall) -> None:
        """Note a Match that was created."""
        self.by_uid[uid] = made
        self.users[made.namespace] += made.users

    def access_to(self, namespace: int) -> Access:
        """Access to one of the namespaces."""
        return replace(self.access, namespace=f"live-{namespace}")

    def keys(self, namespace: int) -> Keys:
        """The keys of one of the namespaces."""
        return Keys(self.access.cluster_id, self.access_to(namespace).namespace)

    def in_turn(self) -> list[LiveCall]:
        """All calls in the order of their creation: the next one is always in the next namespace."""
        return list(self.by_uid.values())


class Filler:
    """Creates the calls of one run."""

    def __init__(self, calls: Calls, admin: aiohttp.ClientSession, livekit: LiveKitClient, replica: Replica) -> None:
        self._calls = calls
        self._admin = admin
        self._livekit = livekit
        self._replica = replica

    async def __call__(self, live: int, http: aiohttp.ClientSession) -> None:
        """Create so many calls; return when the participants of all of them came."""
        calls = self._calls
        await in_flight(Batch(0, calls.namespaces, _AT_ONCE, _PATIENCE_SECONDS), self._create_namespace)
        redis = Redis.from_url(calls.access.redis_url)
        try:
            gateways = [Gateway(redis, calls.keys(number)) for number in range(calls.namespaces)]

            async def create(number: int) -> None:
                await self._create(number, gateways[number % calls.namespaces])

            for first in range(0, live, _PORTION):
                portion = Batch(first, min(_PORTION, live - first), _AT_ONCE, _PATIENCE_SECONDS)
                await in_flight(portion, create)
                await self._until_up(first + portion.count - _BEHIND, http)
        finally:
            await redis.close()
        await self._until_up(live, http)
        await self._join(http)

    async def _create_namespace(self, number: int) -> None:
        access = self._calls.access_to(number)
        metadata = {"name": access.namespace, "labels": {MANAGED_LABEL: "true"}}
        await call(self._admin, "POST", f"{access.server}/api/v1/namespaces", {"metadata": metadata})

    async def _create(self, number: int, gateway: Gateway) -> None:
        calls, namespace = self._calls, number % self._calls.namespaces
        manifest = match_manifest(number, **STAYING)
        one, other = (person["identity"] for person in manifest["spec"]["participants"])
        for user in (one, other):
            await enqueue(gateway, user)
        made = await call(self._admin, "POST", calls.access_to(namespace).collection(MATCH.plural), manifest)
        metadata = made["metadata"]
        calls.add(metadata["uid"], LiveCall(namespace, metadata["name"], (one, other)))

    async def _until_up(self, wanted: int, http: aiohttp.ClientSession) -> None:
        """Wait until so many Matches are Ready, as the operator's own metrics say. Raises MatchFailed."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                self._replica.check()
                async with http.get(self._replica.metrics_url) as answer:
                    phases = {phase: int(float(count)) for phase, count in _MATCHES.findall(await answer.text())}
                if any(phases.get(phase) for phase in _OVER):
                    raise MatchFailed(f"Matches that should stay have ended: {phases}")
                if sum(count for phase, count in phases.items() if phase in _UP) >= wanted:
                    return
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _join(self, http: aiohttp.ClientSession) -> None:
        """Let the participants of all calls come."""
        webhooks = Webhooks(self._calls.access, http, self._replica.webhook_url)
        rooms = [room for room in await self._livekit.list_rooms() if room.mark is not None]

        async def join(number: int) -> None:
            room = rooms[number]
            if room.mark is not None and (live := self._calls.by_uid.get(room.mark.root_uid)) is not None:
                await asyncio.gather(*(webhooks.send(JOINED, room.name, room.mark, user) for user in live.users))

        await in_flight(Batch(0, len(rooms), _AT_ONCE, _PATIENCE_SECONDS), join)


@contextlib.asynccontextmanager
async def beating(calls: Calls) -> AsyncIterator[None]:
    """Let all users of a namespace beat together, once per interval, and namespace after namespace."""
    redis = aioredis.Redis.from_url(calls.access.redis_url)

    async def beat() -> None:
        while True:
            for number in range(calls.namespaces):
                seconds, _ = await redis.time()
                if users := calls.users[number]:
                    await redis.zadd(calls.keys(number).heartbeats(), dict.fromkeys(users, seconds * 1000))
                await asyncio.sleep(BEAT_SECONDS / calls.namespaces)

    try:
        async with beside(beat()):
            yield
    finally:
        await redis.aclose()
