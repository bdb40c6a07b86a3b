"""From a change to keys: whom a Match, a Room, or a room on LiveKit concerns.

Triggers carry no meaning; this only knows who belongs together. A change of a Room concerns its own key, and its Match
if the Room is new, ending or over; a change on LiveKit concerns both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controller.api.match import Match
from controller.api.names import MATCH, livekit_room_name, room_name
from controller.api.phases import RoomPhase
from controller.api.room import Room
from controller.facts.livekit import Mark
from controller.loop.key import Key, Kind

Enqueue = Callable[[Key, str], None]

_OVER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})


class Router:
    """Who is to be woken up. `enqueue` is set once the worker exists."""

    def __init__(self, cluster_id: str) -> None:
        self._cluster_id = cluster_id
        self._rooms: dict[str, Key] = {}
        self._matches: dict[Key, Key] = {}
        self._names: dict[Key, set[str]] = {}
        self.enqueue: Enqueue = _nobody_listens
        self.recount: Callable[[str], None] = _nobody_counts

    def stop_counting(self) -> None:
        """The lease is gone: whoever has it now counts people."""
        self.recount = _nobody_counts

    def match_changed(self, match: Match) -> None:
        """A Match was created or changed."""
        self.enqueue(Key(Kind.MATCH, match.metadata.namespace, match.metadata.name), "match")

    def match_gone(self, match: Match) -> None:
        """A Match is not there any more: a Room that it left behind has nobody in charge of it."""
        self.match_changed(match)
        room = Key(Kind.ROOM, match.metadata.namespace, room_name(match.metadata.uid))
        if room in self._matches:
            self.enqueue(room, "match")

    def match_is_surplus(self, namespace: str, name: str) -> None:
        """More Matches of this namespace are over than are kept, and this is the oldest."""
        self.enqueue(Key(Kind.MATCH, namespace, name), "surplus")

    def room_changed(self, room: Room) -> None:
        """A Room was created, changed or deleted."""
        metadata = room.metadata
        key = Key(Kind.ROOM, metadata.namespace, metadata.name)
        livekit_name = livekit_room_name(self._cluster_id, metadata.namespace, metadata.uid)
        self._rooms[livekit_name] = key
        match = _match_of(room)
        self.enqueue(key, "room")
        if match is not None:
            self._matches[key] = match
            self._names.setdefault(match, set()).add(livekit_name)
            if metadata.deletion_timestamp is not None or room.status.phase in _OVER:
                self.enqueue(match, "room")

    def room_gone(self, room: Room) -> None:
        """A Room is not there any more: its Match may be waiting for just that."""
        metadata = room.metadata
        key = Key(Kind.ROOM, metadata.namespace, metadata.name)
        livekit_name = livekit_room_name(self._cluster_id, metadata.namespace, metadata.uid)
        self._rooms.pop(livekit_name, None)
        self._forget_name(_match_of(room), livekit_name)
        match = self._matches.pop(key, None)
        self.enqueue(key, "room")
        if match is not None:
            self.enqueue(match, "room")

    def livekit_changed(self, livekit_name: str, source: str) -> None:
        """Something about a room on LiveKit changed; rooms that are not ours concern nobody."""
        key = self._rooms.get(livekit_name)
        if key is not None:
            self.enqueue(key, source)
            if key in self._matches:
                self.enqueue(self._matches[key], source)

    def rooms_changed(self, livekit_names: Iterable[str], source: str = "livekit") -> None:
        """Something about these rooms changed on LiveKit."""
        for name in livekit_names:
            self.livekit_changed(name, source)

    def rooms_lost(self, livekit_names: Iterable[str]) -> None:
        """LiveKit has these rooms no more. Their Rooms come before everything else, and before any of their Matches."""
        rooms = [self._rooms[name] for name in livekit_names if name in self._rooms]
        for key in rooms:
            self.enqueue(key, "lost")
        for key in rooms:
            if key in self._matches:
                self.enqueue(self._matches[key], "livekit")

    def has_room(self, livekit_name: str) -> bool:
        """Whether it is the LiveKit name of a Room."""
        return livekit_name in self._rooms

    def livekit_names(self) -> tuple[str, ...]:
        """The LiveKit names of all Rooms."""
        return tuple(self._rooms)

    def webhook_came(self, livekit_name: str, event: str, source: str) -> None:
        """A webhook was written to the ledger. What repeats what we did ourselves, or tells of tracks, wakes nobody."""
        if event.startswith("participant_"):
            self.people_changed(livekit_name, source)
        elif event == "room_finished":
            self.livekit_changed(livekit_name, source)

    def people_changed(self, livekit_name: str, source: str) -> None:
        """A webhook told of somebody in a room: its keys are woken up, and who is there is read again."""
        if livekit_name in self._rooms:
            self.livekit_changed(livekit_name, source)
            self.recount(livekit_name)

    def suspected(self, match: Key) -> None:
        """A gateway has lost somebody of this Match: who is in the room is read again."""
        for livekit_name in sorted(self._names.get(match, ())):
            self.recount(livekit_name)

    def knows(self, mark: Mark) -> bool:
        """Whether the mark is one of this cluster."""
        return mark.cluster == self._cluster_id

    def _forget_name(self, match: Key | None, livekit_name: str) -> None:
        if match is not None and match in self._names:
            self._names[match].discard(livekit_name)
            if not self._names[match]:
                del self._names[match]


def _match_of(room: Room) -> Key | None:
    """The Match that owns a Room."""
    metadata = room.metadata
    owner = next((ref for ref in metadata.owner_references if ref.controller and ref.kind == MATCH.kind), None)
    return Key(Kind.MATCH, metadata.namespace, owner.name) if owner is not None else None


def _nobody_counts(_livekit_name: str) -> None:
    """Only the owner of the lease polls."""


def _nobody_listens(_key: Key, _source: str) -> None:
    """Before the worker is there: everything is enqueued when it starts."""
