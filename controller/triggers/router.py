"""From a change to keys: which Match and which Room a change concerns.

Triggers carry no meaning; the router only knows which objects belong together. A change of a Room concerns its own key,
and its Match if the Room is new, ending or over; a change on LiveKit concerns both, until the Room is being deleted:
then its Match waits for the end of that. Neighbors: the caches (the router follows them), the views of the LiveKit
servers (each side follows the other, for one term), the other triggers, `loop.work_queue` (takes the keys).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from controller.api.match import Match
from controller.api.meta import HasMetadata
from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM, ResourceKind, livekit_room_name, room_name
from controller.api.phases import RoomPhase
from controller.api.room import Room
from controller.facts.livekit import Mark
from controller.facts.unreadable import Unreadable
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.rules.paused import is_paused
from controller.rules.placement import server_of
from controller.views.cache import ObjectCache, following

Enqueue = Callable[[Key, Wake], None]
_OfServer = tuple[str, Callable[[str], None]]

_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})
_ABOUT_PEOPLE = "participant_"
_ROOM_FINISHED = "room_finished"


def is_news(event: str) -> bool:
    """Whether a webhook of this name tells a key anything. Tracks do not, and echoes of our own calls."""
    return event.startswith(_ABOUT_PEOPLE) or event == _ROOM_FINISHED


class Router:
    """Wakes the keys that a change concerns, through `enqueue`."""

    def __init__(self, cluster_id: str, enqueue: Enqueue) -> None:
        self._cluster_id = cluster_id
        self._enqueue = enqueue
        self._rooms: dict[str, Key] = {}
        self._places: dict[str, str] = {}
        self._gone: list[_OfServer] = []
        self._doubted: list[_OfServer] = []
        self._suspected: list[_OfServer] = []
        self._matches: dict[Key, Key] = {}
        self._closing: set[Key] = set()
        self._names: dict[Key, set[str]] = {}
        self._paused: set[Key] = set()
        self._servers: dict[str, Key] = {}

    def follow_cache(self, kind: ResourceKind, cache: ObjectCache[Any]) -> None:
        """Wake keys for the changes of one kind. A kind without relations concerns its own key alone."""
        if kind is MATCH:
            cache.follow(changed=self.match_changed, unreadable=self.match_changed, gone=self.match_gone)
        elif kind is ROOM:
            cache.follow(changed=self.room_changed, unreadable=self.room_changed, gone=self.room_gone)
        else:
            if kind is LIVEKIT_SERVER:
                cache.follow(kept=self._server_kept)
            changed = partial(self.object_changed, kind)
            cache.follow(changed=changed, unreadable=changed, gone=changed)

    def follow_rooms(
        self,
        server: str,
        *,
        gone: Callable[[str], None],
        doubted: Callable[[str], None],
        suspected: Callable[[str], None] = lambda _: None,
    ) -> Callable[[], None]:
        """Tell about the rooms on one LiveKit server, by their LiveKit names. Returns a function that ends this.

        `gone` gets a room whose Room no longer exists, `doubted` one in which participants came or went, and
        `suspected` one in which a participant may be gone although LiveKit lists them.
        """
        unfollow = (
            following(self._gone, (server, gone)),
            following(self._doubted, (server, doubted)),
            following(self._suspected, (server, suspected)),
        )

        def end() -> None:
            for one in unfollow:
                one()

        return end

    def object_changed(self, kind: ResourceKind, found: HasMetadata) -> None:
        """An object was created, changed or deleted."""
        self._enqueue(Key(kind, found.metadata.namespace, found.metadata.name), Wake.OBJECT)

    def match_changed(self, match: HasMetadata) -> None:
        """A Match was created or changed. Its Room is paused and goes on with it."""
        self.object_changed(MATCH, match)
        paused = is_paused(match.metadata)
        if paused or self._paused:
            room = Key(ROOM, match.metadata.namespace, room_name(match.metadata.uid))
            if paused is not (room in self._paused):
                (self._paused.add if paused else self._paused.discard)(room)
                self._enqueue(room, Wake.OBJECT)

    def match_gone(self, match: HasMetadata) -> None:
        """A Match no longer exists: a Room that it left behind has no owner."""
        self.object_changed(MATCH, match)
        room = Key(ROOM, match.metadata.namespace, room_name(match.metadata.uid))
        self._paused.discard(room)
        if room in self._matches:
            self._enqueue(room, Wake.OBJECT)

    def object_woken(self, key: Key, wake: Wake) -> None:
        """There is news about one object."""
        self._enqueue(key, wake)

    def match_woken(self, namespace: str, name: str, wake: Wake) -> None:
        """A witness has news about a Match."""
        self._enqueue(Key(MATCH, namespace, name), wake)

    def match_over_limit(self, namespace: str, name: str) -> None:
        """The namespace keeps more finished Matches than the limit, and this is the oldest."""
        self.match_woken(namespace, name, Wake.OVER_LIMIT)

    def match_restored(self, match: Match) -> None:
        """Redis lost its data, and a Match was claimed again: its tokens and the room's record are due."""
        namespace, name = match.metadata.namespace, match.metadata.name
        self.match_woken(namespace, name, Wake.RESTORED)
        self._enqueue(Key(ROOM, namespace, room_name(match.metadata.uid)), Wake.RESTORED)

    def match_differs(self, match: Match) -> None:
        """Redis does not have of a Match what it should have."""
        self.match_woken(match.metadata.namespace, match.metadata.name, Wake.AUDIT)

    def match_suspected(self, namespace: str, name: str) -> None:
        """A gateway says, or its silence says, that a participant is lost: who is in the room is read and probed."""
        for livekit_name in sorted(self._names.get(Key(MATCH, namespace, name), ())):
            self._doubt(livekit_name)
            self._tell(self._suspected, self._places.get(livekit_name), livekit_name)

    def room_changed(self, room: Room | Unreadable) -> None:
        """A Room was created, changed or deleted."""
        metadata = room.metadata
        key = Key(ROOM, metadata.namespace, metadata.name)
        livekit_name = self._livekit_name(room)
        self._rooms[livekit_name] = key
        readable = room if isinstance(room, Room) else None
        self._places[livekit_name] = server_of(room) or self._places.get(livekit_name, "")
        match = _match_of(room)
        self._enqueue(key, Wake.OBJECT)
        if match is not None:
            self._matches[key] = match
            self._names.setdefault(match, set()).add(livekit_name)
            is_over = readable is None or readable.status.phase in _OVER
            if metadata.deletion_timestamp is not None:
                self._closing.add(key)
            if key in self._closing or is_over:
                self._enqueue(match, Wake.OBJECT)

    def room_gone(self, room: HasMetadata) -> None:
        """A Room no longer exists: its Match may be waiting for that."""
        metadata = room.metadata
        key = Key(ROOM, metadata.namespace, metadata.name)
        livekit_name = self._livekit_name(room)
        self._rooms.pop(livekit_name, None)
        self._tell(self._gone, self._places.pop(livekit_name, None), livekit_name)
        self._forget_name(_match_of(room), livekit_name)
        self._closing.discard(key)
        match = self._matches.pop(key, None)
        self._enqueue(key, Wake.OBJECT)
        if match is not None:
            self._enqueue(match, Wake.OBJECT)

    def livekit_changed(self, livekit_name: str, wake: Wake) -> None:
        """A room on LiveKit changed. Rooms that are not ours concern no key.

        A Match says of a Room that is being deleted only whether its server answers.
        """
        for key in self.keys_of((livekit_name,), wake):
            self._enqueue(key, wake)

    def rooms_changed(self, livekit_names: Iterable[str]) -> None:
        """These rooms changed on LiveKit."""
        for name in livekit_names:
            self.livekit_changed(name, Wake.LIVEKIT)

    def rooms_found(self, livekit_names: Iterable[str]) -> None:
        """LiveKit was asked about these rooms for the first time. It need not say anything new."""
        for name in livekit_names:
            self.livekit_changed(name, Wake.LISTED)

    def _server_kept(self, server: HasMetadata) -> None:
        self._servers[server.metadata.name] = Key(LIVEKIT_SERVER, server.metadata.namespace, server.metadata.name)

    def server_told(self, server: str) -> None:
        """A LiveKit server has begun or stopped to answer. That of the settings is no object, and concerns no key."""
        if server in self._servers:
            self._enqueue(self._servers[server], Wake.STALENESS)

    def server_changed(self, server: str) -> None:
        """A LiveKit server has been silent for too long, or answers again."""
        for name in self.livekit_names(server):
            self.livekit_changed(name, Wake.STALENESS)

    def rooms_lost(self, livekit_names: Iterable[str]) -> None:
        """LiveKit no longer has these rooms. Their Rooms come before everything else, also before their Matches."""
        rooms = [self._rooms[name] for name in livekit_names if name in self._rooms]
        for key in rooms:
            self._enqueue(key, Wake.LOST)
        for key in rooms:
            if key in self._matches:
                self._enqueue(self._matches[key], Wake.LIVEKIT)

    def keys_of(self, livekit_names: Iterable[str], wake: Wake) -> Iterator[Key]:
        """The keys that such news of these rooms wake: the Room of each, and its Match unless the Room closes."""
        for name in livekit_names:
            if (room := self._rooms.get(name)) is not None:
                yield room
                match = self._matches.get(room)
                if match is not None and (room not in self._closing or wake is Wake.STALENESS):
                    yield match

    def keys_before_count(self, livekit_names: Iterable[str]) -> Iterator[Key]:
        """The keys that are better decided once it is known who is in these rooms. A Room that closes need not wait."""
        is_open = (name for name in livekit_names if self._rooms.get(name) not in self._closing)
        return self.keys_of(is_open, Wake.LISTED)

    def has_room(self, livekit_name: str) -> bool:
        """Whether it is the LiveKit name of a Room."""
        return livekit_name in self._rooms

    def places_are_free(self, waiting: Iterable[tuple[ResourceKind, str, str]]) -> None:
        """These objects found no LiveKit server for a room, and there may be one now."""
        for kind, namespace, name in waiting:
            self._enqueue(Key(kind, namespace, name), Wake.OBJECT)

    def place_of(self, livekit_name: str) -> str:
        """The server that has the room of this name; empty if it is not known."""
        return self._places.get(livekit_name, "")

    def livekit_names(self, server: str) -> tuple[str, ...]:
        """The LiveKit names of all Rooms on one server."""
        return tuple(name for name, place in self._places.items() if place == server)

    def webhook_came(self, livekit_name: str, event: str, wake: Wake) -> None:
        """A webhook was written to the ledger."""
        if event.startswith(_ABOUT_PEOPLE):
            self.people_changed(livekit_name, wake)
        elif event == _ROOM_FINISHED:
            self.livekit_changed(livekit_name, wake)

    def people_changed(self, livekit_name: str, wake: Wake) -> None:
        """A webhook says that a participant came or went: the keys are woken, and who is there is read again."""
        if livekit_name in self._rooms:
            self.livekit_changed(livekit_name, wake)
            self._doubt(livekit_name)

    def knows(self, mark: Mark) -> bool:
        """Whether the mark is one of this cluster."""
        return mark.cluster == self._cluster_id

    def _doubt(self, livekit_name: str) -> None:
        self._tell(self._doubted, self._places.get(livekit_name), livekit_name)

    @staticmethod
    def _tell(followers: Iterable[_OfServer], server: str | None, livekit_name: str) -> None:
        for of, tell in followers:
            if of == server:
                tell(livekit_name)

    def _livekit_name(self, room: HasMetadata) -> str:
        return livekit_room_name(self._cluster_id, room.metadata.namespace, room.metadata.uid)

    def _forget_name(self, match: Key | None, livekit_name: str) -> None:
        if match is not None and match in self._names:
            self._names[match].discard(livekit_name)
            if not self._names[match]:
                del self._names[match]


def _match_of(room: HasMetadata) -> Key | None:
    """The Match that owns a Room."""
    metadata = room.metadata
    owner = next((ref for ref in metadata.owner_references if ref.controller and ref.kind == MATCH.kind), None)
    return Key(MATCH, metadata.namespace, owner.name) if owner is not None else None
