"""On which LiveKit server each Room is: an index of the Rooms that are not over, with places that are reserved.

A place is reserved before its Room is created, so that many Rooms that are placed at one moment never exceed
`maxRooms`. LiveKit's own count lags, and includes rooms of others. Rooms in namespaces that another installation serves
are on that one's servers, whatever these are called. A Room that cannot be read stays where it was; if that is not
known, it may be on any server. Neighbors: `app.wiring` lets it follow the caches,
`backends.servers` reserves and counts, `triggers.drain` goes through the standing Rooms of a server.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from controller.api.meta import HasMetadata
from controller.api.names import MATCH, PAUSED, room_name
from controller.api.phases import RoomPhase
from controller.api.room import Room
from controller.facts.unreadable import Unreadable
from controller.rules.placement import server_of

Name = tuple[str, str]

_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})


@dataclass(frozen=True, slots=True)
class StandingRoom:
    """A Room of no Match whose LiveKit room was made; `since` is when.

    `is_paused`: an annotation keeps the operator from touching it."""

    namespace: str
    name: str
    uid: str
    server: str
    since: datetime
    is_paused: bool = False


class RoomPlacements:
    """The server of each Room, by the (namespace, name) of the Room. `serves` tells whether we serve a namespace."""

    def __init__(self, serves: Callable[[str], bool] = lambda _: True) -> None:
        self._serves = serves
        self._places: dict[Name, str] = {}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._reserved: set[Name] = set()
        self._standing: dict[Name, StandingRoom] = {}
        self._unknown: set[Name] = set()

    def kept(self, room: Room) -> None:
        """The cache has a newer version of a Room."""
        name = (room.metadata.namespace, room.metadata.name)
        server = server_of(room)
        self._unknown.discard(name)
        if room.status.phase in _OVER:
            self._remove(name)
        elif server and not self._moves(room, server):
            self._put(name, server)
            self._reserved.discard(name)
            made_at, metadata = room.status.created_at, room.metadata
            is_of_match = any(owner.controller and owner.kind == MATCH.kind for owner in metadata.owner_references)
            if made_at is not None and not is_of_match:
                is_paused = metadata.annotations.get(PAUSED) == "true"
                self._standing[name] = StandingRoom(*name, metadata.uid, server, made_at, is_paused)

    def unreadable(self, room: Unreadable) -> None:
        """The cache has a newer version of a Room, which cannot be read."""
        name = (room.metadata.namespace, room.metadata.name)
        if name in self._places:
            return
        if server := server_of(room):
            self._put(name, server)
        else:
            self._unknown.add(name)

    def _moves(self, room: Room, written: str) -> bool:
        """Whether a Room that was never made has a place on another server than it says yet."""
        name = (room.metadata.namespace, room.metadata.name)
        return name in self._reserved and room.status.created_at is None and self._places[name] != written

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
        return sum(count for namespace, count in self._counts[server].items() if self._serves(namespace))

    def on(self, server: str) -> Iterator[Name]:
        """The Rooms on the server."""
        return (name for name, place in self._places.items() if place == server and self._serves(name[0]))

    def unknown(self) -> list[Name]:
        """The Rooms that cannot be read and may be on any server, in order."""
        return sorted(name for name in self._unknown if self._serves(name[0]))

    def standing(self, server: str) -> Iterator[StandingRoom]:
        """The standing Rooms on the server whose LiveKit room was made."""
        return (room for room in self._standing.values() if room.server == server and self._serves(room.namespace))

    def _put(self, name: Name, server: str) -> None:
        before = self._places.get(name)
        if before != server:
            self._remove(name)
            self._places[name] = server
            self._counts[server][name[0]] += 1

    def _remove(self, name: Name) -> None:
        server = self._places.pop(name, None)
        if server is not None:
            self._counts[server][name[0]] -= 1
            if not self._counts[server][name[0]]:
                del self._counts[server][name[0]]
        self._reserved.discard(name)
        self._unknown.discard(name)
        self._standing.pop(name, None)
