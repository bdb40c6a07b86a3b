"""Compares Redis and LiveKit with the objects twice a minute, and puts right what is left of objects that are gone.

An object can go without us: finalizers were taken off while no operator ran, or in the moment before the claim. Then
nothing wakes its key, and its users are held for ever, or its LiveKit room stays open. Each round reads the live
Matches of every open pool and the rooms that LiveKit lists with our mark. A round has a budget, so that it costs the
same whatever went wrong; the next round goes on. Neighbors: `backends.restores` settles, `views.livekit` has the rooms.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib

import structlog

from controller.api.names import livekit_room_name
from controller.backends.bundle import ROOMS, Backends
from controller.backends.restores import PutRight, Restorer
from controller.backends.servers import Server
from controller.clients.redis.inspection import tombstoned
from controller.errors import NotFound
from controller.facts.livekit import LiveKitRoom, Mark
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 30.0
# The first round of a term: the audit has opened the pools by then.
_FIRST_SECONDS = 5.0
_MATCHES_PER_ROUND = 500
_ROOMS_PER_ROUND = 100
# A room that we are making has no Room in the cache of another replica yet, and one that is closed stays listed.
_OLD_SECONDS = 60.0


class Sweeper:
    """Sweeps all open pools and all LiveKit servers. `namespaces` are those of the settings; none is all."""

    def __init__(
        self,
        backends: Backends,
        restorer: Restorer,
        namespaces: tuple[str, ...],
        interval_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._backends = backends
        self._restorer = restorer
        self._namespaces = namespaces
        self._interval_seconds = interval_seconds
        self._without_room: dict[str, float] = {}
        self._last_unmarked: dict[str, str] = {}

    async def run(self, pulse: Pulse) -> None:
        """Sweep until cancelled."""
        await asyncio.sleep(_FIRST_SECONDS)
        while True:
            await self.sweep(pulse)
            pulse.beat()
            await asyncio.sleep(self._interval_seconds)

    async def sweep(self, pulse: Pulse) -> None:
        """One round."""
        left = _MATCHES_PER_ROUND
        for namespace in self._backends.pools.namespaces():
            pulse.beat()
            with pulse.item("to compare a pool with the Matches", namespace=namespace):
                left -= await self._sweep_pool(namespace, left)
        await self._sweep_rooms(pulse)
        await self._sweep_revived(pulse)

    async def _sweep_pool(self, namespace: str, at_most: int) -> int:
        pools = self._backends.pools
        return await self._restorer.sweep(namespace, pools.opened(namespace), pools.check, at_most)

    async def _sweep_rooms(self, pulse: Pulse) -> None:
        """Close marked rooms whose Room is gone for longer than a room can be without one."""
        now = asyncio.get_running_loop().time()
        found = {
            room.name: (server, room, room.mark)
            for server in self._backends.servers
            for room in server.view.listed()
            if room.mark is not None and self._may_be_left_over(room.name, room.mark)
        }
        self._without_room = {name: self._without_room.get(name, now) for name in found}
        due = [name for name, since in self._without_room.items() if now - since >= _OLD_SECONDS]
        for name in due[:_ROOMS_PER_ROUND]:
            pulse.beat()
            with pulse.item("to close a room without a Room", room=name):
                await self._close(*found[name])

    async def _sweep_revived(self, pulse: Pulse) -> None:
        """Close rooms that a client has made again after their end, which LiveKit allows where `auto_create` is on.

        Such a room has no mark. That it was ours is certain only by the tombstone that its end left in Redis.
        """
        for server in self._backends.servers:
            names = self._in_turn(server)
            for namespace in self._backends.pools.namespaces() if names else ():
                pulse.beat()
                with pulse.item("to close rooms that were made again", namespace=namespace):
                    pool = self._backends.pools.opened(namespace)
                    for name in sorted(await tombstoned(pool.redis, pool.keys, names)):
                        await self._close_again(server, name, namespace)

    def _in_turn(self, server: Server) -> list[str]:
        """The unmarked rooms of this round: those after the last one of the round before, and then from the first."""
        names, last = sorted(server.view.unmarked), self._last_unmarked.get(server.name, "")
        start = bisect.bisect_right(names, last)
        turn = [*names[start:], *names[:start]][:_ROOMS_PER_ROUND]
        self._last_unmarked[server.name] = turn[-1] if turn else ""
        return turn

    async def _close_again(self, server: Server, name: str, namespace: str) -> None:
        if any(room.mark is not None for room in await server.client.list_rooms((name,))):
            return
        self._backends.leadership.require()
        with contextlib.suppress(NotFound):
            await server.client.delete_room(name)
        metrics.put_right.labels(PutRight.ROOM_CLOSED).inc()
        log.warning(
            "a client made a LiveKit room again after its end; it is closed. Set room.auto_create of LiveKit to false",
            room=name,
            namespace=namespace,
        )

    def _may_be_left_over(self, name: str, mark: Mark) -> bool:
        """Whether we made the room, by its name and not only by its mark, which another client may have copied."""
        is_served = not self._namespaces or mark.namespace in self._namespaces
        is_ours = mark.cluster == self._backends.cluster_id and is_served
        has_name = name == livekit_room_name(mark.cluster, mark.namespace, mark.room_uid)
        return is_ours and has_name and not self._backends.rooms.has(mark.room_uid)

    async def _close(self, server: Server, room: LiveKitRoom, mark: Mark) -> None:
        if await self._has_object(mark):
            return
        self._backends.leadership.require()
        await server.client.delete_room(room.name)
        metrics.put_right.labels(PutRight.ROOM_CLOSED).inc()
        log.warning(
            "a LiveKit room was left without its Room; it is closed",
            room=room.name,
            namespace=mark.namespace,
            name=mark.name,
        )

    async def _has_object(self, mark: Mark) -> bool:
        try:
            body = await self._backends.kubernetes.get(ROOMS, mark.namespace, mark.name)
        except NotFound:
            return False
        return str(body["metadata"]["uid"]) == mark.room_uid
