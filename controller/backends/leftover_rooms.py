"""Which rooms of LiveKit are left over: the one rule for the operator's sweep and for a sweep by hand.

A room that carries our mark and has no Room, and a room without a mark that a client has made again after its end. It
changes nothing. Neighbors: `triggers.sweep_rooms` and `app.sweep_by_hand` list rooms, `backends.cleaning` asks
Kubernetes and LiveKit once more before it closes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controller.api.names import livekit_room_name, may_be_livekit_room_name
from controller.api.room import Room
from controller.clients.redis.inspection import tombstoned
from controller.clients.redis.pool import Pool
from controller.facts.leftover import Leftover, Remedy, SweepKind
from controller.facts.livekit import LiveKitRoom
from controller.views.cache import ObjectCache


@dataclass(frozen=True, slots=True)
class RoomFinder:
    """The leftover rooms of an installation. The cache of Rooms is complete while it is used.

    `serves` tells the namespaces that are ours.
    """

    cluster_id: str
    serves: Callable[[str], bool]
    rooms: ObjectCache[Room]

    def marked(self, server: str, listed: Iterable[LiveKitRoom]) -> list[Leftover]:
        """Those of these rooms of a server that carry our mark, and whose Room is gone by the word of the cache."""
        found: list[Leftover] = []
        for room in listed:
            mark = room.mark
            if mark is None or mark.cluster != self.cluster_id or not self.serves(mark.namespace):
                continue
            # Another client may have copied the mark of a room, but not its name.
            has_name = room.name == livekit_room_name(mark.cluster, mark.namespace, mark.room_uid)
            if has_name and not self.rooms.has(mark.room_uid):
                why = f"it is open with {room.num_participants} participants, and its Room is gone"
                found.append(
                    Leftover(
                        *(SweepKind.ROOMS, Remedy.CLOSE, mark.namespace, room.name, why), key=server, name=mark.name
                    )
                )
        return found

    def unmarked(self, listed: Iterable[LiveKitRoom]) -> list[str]:
        """The names of rooms that may be ours, made again by a client: they have no mark, and a name as ours have."""
        return [room.name for room in listed if room.mark is None and may_be_livekit_room_name(room.name)]

    async def revived(self, server: str, names: Sequence[str], pool: Pool) -> list[Leftover]:
        """Those of these unmarked rooms of a server that have a tombstone in the pool. Raises BackendError."""
        namespace = pool.keys.namespace
        why = "a client made it again after its end; set room.auto_create of LiveKit to false"
        return [
            Leftover(SweepKind.ROOMS, Remedy.CLOSE, namespace, name, why, key=server)
            for name in sorted(await tombstoned(pool.redis, pool.keys, names))
        ]
