"""The rooms of LiveKit in a light sweep: those that carry our mark and have no Room are closed.

A room with our mark whose Room is gone stays open for as long as its clients stay. A client can also make a room again
after its end, where `auto_create` is on; such a room has no mark, and only its tombstone says that it was ours. Nothing
wakes a key for either of them. Neighbors: `triggers.sweep` calls this, `views.livekit` has the rooms.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections.abc import Callable, Sequence

import structlog

from controller.api.names import livekit_room_name
from controller.backends.bundle import Backends
from controller.backends.objects import Objects
from controller.backends.restores import PutRight
from controller.backends.servers import Server
from controller.clients.redis.inspection import tombstoned
from controller.errors import NotFound
from controller.facts.leftover import SweepKind
from controller.facts.livekit import LiveKitRoom, Mark
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.sweep_tally import SweepTally

log = structlog.get_logger(__name__)

_ROOMS_PER_ROUND = 100
# One that is being closed stays listed for a while, and another client may close it meanwhile.
_OLD_SECONDS = 45.0


class RoomSweep:
    """Sweeps all LiveKit servers, every `interval_seconds`. `serves` tells the namespaces that are ours."""

    def __init__(self, backends: Backends, serves: Callable[[str], bool], interval_seconds: float) -> None:
        self._backends = backends
        self._serves = serves
        self._old_seconds = min(_OLD_SECONDS, interval_seconds)
        self._objects = Objects(backends.kubernetes)
        self._without_room: dict[str, float] = {}
        self._last_unmarked: dict[str, str] = {}

    @property
    def next_due_at(self) -> float | None:
        """When the next room that was found will have been without its Room for long enough; by the loop's clock."""
        return min(self._without_room.values()) + self._old_seconds if self._without_room else None

    async def sweep(self, pulse: Pulse, tally: SweepTally) -> None:
        """One round: a budget of rooms."""
        await self._sweep_marked(pulse, tally)
        await self._sweep_revived(pulse, tally)

    async def _sweep_marked(self, pulse: Pulse, tally: SweepTally) -> None:
        """Close marked rooms whose Room is gone for longer than a room can be without one."""
        now = asyncio.get_running_loop().time()
        found = {
            room.name: (server, room, room.mark)
            for server in self._backends.servers
            for room in server.view.listed()
            if room.mark is not None and self._may_be_left_over(room.name, room.mark)
        }
        self._without_room = {name: self._without_room.get(name, now) for name in found}
        due = [name for name, since in self._without_room.items() if now - since >= self._old_seconds]
        for name in due[:_ROOMS_PER_ROUND]:
            pulse.beat()
            was_closed = list[bool]()
            with pulse.item("to close a room without a Room", room=name):
                was_closed.append(await self._close(*found[name]))
            self._count(tally, was_closed)
            # A budget that other rooms wait for must not go to this one again at once.
            self._without_room[name] = now

    @staticmethod
    def _count(tally: SweepTally, was_closed: Sequence[bool]) -> None:
        """Count one room: closed, left alone, or (empty) failed."""
        if not was_closed:
            tally.failed(SweepKind.ROOMS)
        elif was_closed[0]:
            tally.found(SweepKind.ROOMS)
            tally.cleaned(SweepKind.ROOMS)

    async def _sweep_revived(self, pulse: Pulse, tally: SweepTally) -> None:
        """Close rooms that a client has made again after their end."""
        for server in self._backends.servers:
            names = self._in_turn(server)
            for namespace in self._backends.pools.namespaces() if names else ():
                pulse.beat()
                with pulse.item("to close rooms that were made again", namespace=namespace):
                    pool = self._backends.pools.opened(namespace)
                    for name in sorted(await tombstoned(pool.redis, pool.keys, names)):
                        self._count(tally, [await self._close_again(server, name, namespace)])

    def _in_turn(self, server: Server) -> list[str]:
        """The unmarked rooms of this round: those after the last one of the round before, and then from the first."""
        names, last = sorted(server.view.unmarked), self._last_unmarked.get(server.name, "")
        start = bisect.bisect_right(names, last)
        turn = [*names[start:], *names[:start]][:_ROOMS_PER_ROUND]
        self._last_unmarked[server.name] = turn[-1] if turn else ""
        return turn

    async def _close_again(self, server: Server, name: str, namespace: str) -> bool:
        if any(room.mark is not None for room in await server.client.list_rooms((name,))):
            return False
        self._backends.leadership.require()
        with contextlib.suppress(NotFound):
            await server.client.delete_room(name)
        metrics.put_right.labels(PutRight.ROOM_CLOSED).inc()
        log.warning(
            "a client made a LiveKit room again after its end; it is closed. Set room.auto_create of LiveKit to false",
            room=name,
            namespace=namespace,
        )
        return True

    def _may_be_left_over(self, name: str, mark: Mark) -> bool:
        """Whether we made the room, by its name and not only by its mark, which another client may have copied."""
        is_ours = mark.cluster == self._backends.cluster_id and self._serves(mark.namespace)
        has_name = name == livekit_room_name(mark.cluster, mark.namespace, mark.room_uid)
        return is_ours and has_name and not self._backends.rooms.has(mark.room_uid)

    async def _close(self, server: Server, room: LiveKitRoom, mark: Mark) -> bool:
        """Close the room, unless Kubernetes has its Room. Whether it is closed."""
        if await self._objects.room_uid(mark.namespace, mark.name) == mark.room_uid:
            return False
        self._backends.leadership.require()
        await server.client.delete_room(room.name)
        metrics.put_right.labels(PutRight.ROOM_CLOSED).inc()
        log.warning(
            "a LiveKit room was left without its Room; it is closed",
            room=room.name,
            namespace=mark.namespace,
            name=mark.name,
        )
        return True
