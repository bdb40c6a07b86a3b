"""Cleans leftovers one by one, each by one request that checks again.

Kubernetes is asked first: a cache is only a hint, and an object that cannot be read lives. Then one fenced script of
Redis looks once more and writes. So nothing is touched that a live Match holds, and a sweep that has lost its lease
writes nothing. Neighbors: `backends.leftovers` finds, `backends.restores` settles Matches, `triggers.sweep` sweeps
while the lease is ours, `cli.sweep` by hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import structlog

from controller.api.match import Match
from controller.api.names import livekit_room_name
from controller.api.room import Room
from controller.backends.leftovers import SweepRules, lives
from controller.backends.objects import Objects
from controller.backends.put_right import PutRight
from controller.backends.restores import Restorer
from controller.backends.servers import Server
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.leftovers import LeftoverStore, SweptReply
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.inbox import Expiry
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clock import Clock
from controller.errors import Backend, BackendUnavailable, Code, NotFound
from controller.facts.leftover import Leftover, Remedy, SweepKind
from controller.facts.time import milliseconds
from controller.telemetry import metrics
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)


class SweptPools(Protocol):
    """The pools that a sweep may write to."""

    async def get(self, namespace: str) -> Pool:
        """The pool of a namespace. Raises BackendError or LeadershipLost if it may not be written to."""
        ...

    def check(self, namespace: str, reply: object) -> None:
        """Raise for a reply that forbids us to write."""
        ...


class Cleaner:
    """Cleans what a Finder has found. The caches are complete while it is used.

    `may_close` raises if no LiveKit room may be deleted now.
    """

    def __init__(
        self,
        cluster_id: str,
        rules: SweepRules,
        *,
        pools: SweptPools,
        matches: ObjectCache[Match],
        rooms: ObjectCache[Room],
        objects: Objects,
        restorer: Restorer,
        clock: Clock,
        servers: Iterable[Server],
        may_close: Callable[[], None],
    ) -> None:
        self._cluster_id = cluster_id
        self._rules = rules
        self._pools = pools
        self._matches = matches
        self._rooms = rooms
        self._objects = objects
        self._restorer = restorer
        self._clock = clock
        self._servers = servers
        self._may_close = may_close
        self._remedies: Mapping[Remedy, Callable[[Pool, Leftover], Awaitable[bool]]] = {
            Remedy.SETTLE: self._settle,
            Remedy.FREE: self._free,
            Remedy.RELEASE: self._release,
            Remedy.RETIRE: self._retire,
            Remedy.EXPIRE: self._drop,
            Remedy.DELETE: self._drop,
        }

    async def clean(self, leftover: Leftover) -> bool:
        """Clean one leftover, and return whether that was still right. Raises BackendError, LeadershipLost."""
        if leftover.remedy is Remedy.CLOSE:
            return await self._close(leftover)
        pool = await self._pools.get(leftover.namespace)
        if await self._is_held(leftover):
            return False
        return await self._remedies[leftover.remedy](pool, leftover)

    async def _is_held(self, leftover: Leftover) -> bool:
        """Whether the object that the leftover belongs to lives by the word of Kubernetes."""
        namespace, name = leftover.namespace, leftover.name
        if leftover.kind is SweepKind.ROOMS:
            return await self._room_lives(namespace, name, leftover.id)
        if not leftover.match or leftover.remedy is Remedy.SETTLE:  # settling asks by itself
            return False
        if self._matches.has(leftover.match):
            return lives(self._matches, leftover.match)
        return bool(name) and await self._objects.match_uid(namespace, name) == leftover.match

    async def _room_lives(self, namespace: str, name: str, livekit_name: str) -> bool:
        if any(self._livekit_name(of, uid) == livekit_name for of, uid in self._rooms.uids() if of == namespace):
            return True
        uid = await self._objects.room_uid(namespace, name) if name else None
        return uid is not None and self._livekit_name(namespace, uid) == livekit_name

    def _livekit_name(self, namespace: str, uid: str) -> str:
        return livekit_room_name(self._cluster_id, namespace, uid)

    async def _close(self, leftover: Leftover) -> bool:
        """Close a LiveKit room, unless Kubernetes has its Room, or a room that had no mark has one by now."""
        server = self._server(leftover)
        if leftover.name:
            uid = await self._objects.room_uid(leftover.namespace, leftover.name)
            if uid is not None and self._livekit_name(leftover.namespace, uid) == leftover.id:
                return False
        elif any(room.mark is not None for room in await server.client.list_rooms((leftover.id,))):
            return False
        self._may_close()
        try:
            await server.client.delete_room(leftover.id)
        except NotFound:
            return False
        metrics.put_right.labels(PutRight.ROOM_CLOSED).inc()
        log.warning(
            "a LiveKit room was left over; it is closed",
            room=leftover.id,
            namespace=leftover.namespace,
            name=leftover.name,
            why=leftover.why,
        )
        return True

    def _server(self, leftover: Leftover) -> Server:
        found = [server for server in self._servers if server.name == leftover.key]
        if not found:  # its configuration went meanwhile
            why = f"the LiveKit server {leftover.key} is not configured, so its room {leftover.id} cannot be closed"
            raise BackendUnavailable(Backend.LIVEKIT, "delete a room", why, code=Code.NO_SERVER)
        return found[0]

    async def _settle(self, pool: Pool, leftover: Leftover) -> bool:
        known = self._matches.by_uid(leftover.id)
        if isinstance(known, Match):
            return known.counts_as_over and await self._restorer.settle_again(pool, known, self._pools.check)
        if known is not None:
            return False
        return bool(await self._restorer.settle_gone(leftover.namespace, pool, (leftover.id,), self._pools.check))

    async def _free(self, pool: Pool, leftover: Leftover) -> bool:
        rules = self._rules
        reply = await LeftoverStore(pool).free(
            leftover, now_ms=self._now_ms, silent_seconds=rules.silent_seconds, tells=rules.tells
        )
        return self._is_clean(leftover, reply)

    async def _release(self, pool: Pool, leftover: Leftover) -> bool:
        reply = await LeftoverStore(pool).unreserve(leftover.id)
        self._pools.check(leftover.namespace, reply)
        return bool(reply)

    async def _retire(self, pool: Pool, leftover: Leftover) -> bool:
        beat_ms = int(leftover.unchanged["beat"])
        reply = await Inbox(pool).expire(leftover.id, beat_ms, now_ms=self._now_ms)
        self._pools.check(leftover.namespace, reply)
        return reply in {Expiry.IDLE, Expiry.UNKNOWN}

    async def _drop(self, pool: Pool, leftover: Leftover) -> bool:
        return self._is_clean(leftover, await LeftoverStore(pool).drop(leftover))

    def _is_clean(self, leftover: Leftover, reply: SweptReply) -> bool:
        self._pools.check(leftover.namespace, reply)
        return not isinstance(reply, Stale | Lost) and reply.is_clean

    @property
    def _now_ms(self) -> int:
        return milliseconds(self._clock.now())
