"""One pool with leftovers, and what a sweep needs to clean it: caches, what Kubernetes answers, and a clock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import redis as redis_py

from controller.api.match import Match
from controller.api.room import Room
from controller.backends.cleaning import Cleaner
from controller.backends.leftovers import Finder, SweepRules
from controller.backends.objects import Objects
from controller.backends.restores import Restorer
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.errors import Backend, StateLost
from controller.facts.leftover import Leftover
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from tests.redis.servers import Server
from tests.redis.world import World

DAY_SECONDS = 86_400
LONG_AGO_MS = round(time.time() * 1000) - 2 * DAY_SECONDS * 1000


class OnePool:
    """The pools of a sweep: the one of the world."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def get(self, _namespace: str) -> Pool:
        return self.pool

    def check(self, _namespace: str, reply: object) -> None:
        if isinstance(reply, Stale | Lost):
            raise StateLost(Backend.REDIS, "script", str(reply))


class Sweeping:
    """A sweep of the pool of `world` alone. `objects` has what Kubernetes answers for a name: a UID, or an error.

    `listed` is what it answers to a LIST of Matches: their UIDs, or an error.
    """

    def __init__(self, world: World, server: Server, **rules: Any) -> None:
        self.world = world
        self.server = server
        self.pools = OnePool(world.pool)
        self.objects: dict[str, Any] = {}
        self.listed: Any = set()
        self.matches, self.rooms, calls = ObjectCache(Match), ObjectCache(Room), CallIndex()
        self.matches.follow(kept=calls.kept, gone=calls.gone)
        self.rules = SweepRules(
            **{
                "namespaces": (world.keys.namespace,),
                "max_age_seconds": DAY_SECONDS,
                "batch": 1000,
                "silent_seconds": 90.0,
                "tells": True,
                **rules,
            }
        )
        clock: Any = type("Clock", (), {"now": staticmethod(lambda: datetime.now(UTC))})()
        named: Any = type("Named", (), {"match_uid": self._uid, "room_uid": self._uid})()
        restorer = Restorer(
            self.matches, calls, clock, restored=(), wake=lambda _match: None, uid_of=self._uid, uids_in=self._uids
        )
        self.restorer = restorer
        self.finder = Finder(world.redis, world.keys.cluster_id, self.rules, self.matches, clock)
        self.cleaner = Cleaner(
            world.keys.cluster_id,
            self.rules,
            pools=self.pools,
            matches=self.matches,
            rooms=self.rooms,
            objects=cast("Objects", named),
            restorer=restorer,
            clock=clock,
            servers=(),
            may_close=lambda: None,
        )

    async def _uid(self, _namespace: str, name: str) -> Any:
        found = self.objects.get(name)
        if isinstance(found, Exception):
            raise found
        return found

    async def _uids(self, _namespace: str) -> Any:
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed

    async def find(self) -> list[Leftover]:
        """Everything that is left over in the pool: all keys, and all lists."""
        found: list[Leftover] = []
        cursor = "0"
        while True:
            scanned = await self.finder.scan(cursor)
            for keys, names in scanned.pools.items():
                found += await self.finder.judged(keys, names)
            cursor = scanned.cursor
            if cursor == "0":
                return [*found, *await self.finder.listed(self.world.keys.namespace)]

    async def clean(self, leftovers: Iterable[Leftover]) -> list[bool]:
        """Clean them one after the other: whether each was cleaned."""
        return [await self.cleaner.clean(leftover) for leftover in leftovers]

    async def settle_lists(self) -> None:
        """Put right what `live` lists, as the light sweep does each minute."""
        await self.restorer.sweep(self.world.keys.namespace, self.world.pool, self.pools.check, 100, lambda: None)

    async def sweep(self) -> list[Leftover]:
        """Find and clean; return what was found."""
        found = await self.find()
        await self.clean(found)
        return found

    # What leftovers are made of

    def idle(self, *keys: str, seconds: int = 2 * DAY_SECONDS) -> None:
        """Let keys look as if they had not been touched for so long."""
        with redis_py.Redis.from_url(self.server.url) as client:
            for key in keys:
                dump, ttl = cast("bytes", client.dump(key)), cast("int", client.pttl(key))
                client.restore(key, max(0, ttl), dump, replace=True, idletime=seconds)

    async def hash(self, key: str, **fields: str | int) -> None:
        """Write a hash without a TTL."""
        flat = [part for pair in fields.items() for part in pair]
        await self.world.raw("HSET", key, *flat)
        await self.world.raw("PERSIST", key)
