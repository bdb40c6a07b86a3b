"""On which LiveKit server each Room is: an index of the Rooms that are not over, with places that are reserved.

A place is reserved before its Room is created, so that many Rooms that are placed at one moment never exceed
`maxRooms`. LiveKit's own count lags, and includes rooms of others. Neighbors: `app.wiring` lets it follow the caches,
`backends.servers` reserves and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from controller.api.meta import HasMetadata
from controller.api.names import room_name
from controller.api.phases import RoomPhase
from controller.api.room import Room
from controller.rules.placement import server_of

Name = tuple[str, str]

_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})


class RoomPlacements:
    """The server of each Room, by the (namespace, name) of the Room."""

    def __init__(self) -> None:
        self._places: dict[Name, str] = {}
        self._counts: Counter[str] = Counter()
        self._reserved: set[Name] = set()

    def kept(self, room: Room) -> None:
        """The cache has a newer version of a Room."""
        name = (room.metadata.namespace, room.metadata.name)
        server = server_of(room)
        if room.status.phase in _OVER:
            self._remove(name)
        elif server:
            self._put(name, server)
            self._reserved.discard(name)

    def gone(self, room: HasMetadata) -> None:
        """A Room no longer exists."""
        self._remove((room.metadata.namespace, room.metadata.name))

    def match_gone(self, match: HasMetadata) -> None:
        """A Match no longer exists: a place that is still reserved for its Room is not needed."""
        name = (match.metadata.namespace, room_name(match.metadata.uid))
        if name in self._reserved:
            self._remove(name)

    def reserve(self, namespace: str, name: str, server: str) -> None:
        """Count a Room that is about to be made."""
        self._put((namespace, name), server)
        self._reserved.add((namespace, name))

    def release(self, namespace: str, name: str) -> None:
        """The Room was not made. Without effect if the place is not reserved."""
        if (namespace, name) in self._reserved:
            self._remove((namespace, name))

    def of(self, namespace: str, name: str) -> str:
        """The server of the Room, as far as it is known; else empty."""
        return self._places.get((namespace, name), "")

    def count(self, server: str) -> int:
        """How many Rooms are on the server or about to be made there."""
        return self._counts[server]

    def on(self, server: str) -> Iterator[Name]:
        """The Rooms on the server."""
        return (name for name, place in self._places.items() if place == server)

    def _put(self, name: Name, server: str) -> None:
        before = self._places.get(name)
        if before != server:
            self._remove(name)
            self._places[name] = server
            self._counts[server] += 1

    def _remove(self, name: Name) -> None:
        server = self._places.pop(name, None)
        if server is not None:
            self._counts[server] -= 1
        self._reserved.discard(name)
