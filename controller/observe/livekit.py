"""What is known of one LiveKit server's rooms: the latest snapshot of all, and what our own calls have answered since.

There is one bulk ListRooms per interval (`triggers.poll`); its answer becomes one immutable snapshot. An answer to a
call of our own that began after the snapshot's request is newer and wins until the next one. People are read only
where a count has changed or a webhook disagrees. Listeners hear the LiveKit name of every room of which something
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.observation import Absent, Observation, Present, Unknown

People = tuple[LiveKitParticipant, ...]


class LiveKitView:
    """Observations of one server. All times are those at which the request was *sent*."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._rooms: dict[str, Present[LiveKitRoom]] = {}
        self._sids: dict[str, str] = {}
        self._gone: dict[str, datetime] = {}
        self._people: dict[str, Present[People]] = {}
        self._snapshot_at: datetime | None = None
        self.answers_since: datetime | None = None
        self._failure: tuple[datetime, str] | None = None

    def room(self, name: str, now: datetime) -> Observation[LiveKitRoom]:
        """What is known of the room `name`."""
        known = self._rooms.get(name)
        if known is not None:
            return known
        gone_at = self._gone.get(name)
        if gone_at is not None:
            return Absent(gone_at)
        if self._failure is not None:
            return Unknown(*self._failure)
        if self._snapshot_at is None:
            return Unknown(now, "LiveKit's rooms have not been listed yet")
        return Absent(self._snapshot_at)

    def people(self, name: str, now: datetime) -> Observation[People]:
        """Who is in the room `name`, as far as it was read."""
        return self._people.get(name) or Unknown(now, "the participants have not been listed yet")

    def is_gone(self, name: str) -> bool:
        """Whether two different reads agreed that there is no room `name`, and none has shown it since."""
        return name in self._gone

    def forget(self, name: str) -> None:
        """The Room behind `name` is gone; the name is never used again."""
        for known in (self._gone, self._people, self._rooms, self._sids):
            known.pop(name, None)

    @property
    def failure(self) -> str:
        """Why the server cannot be asked at present; empty while it answers."""
        return self._failure[1] if self._failure is not None else ""

    def saw_room(self, room: LiveKitRoom, at: datetime) -> None:
        """An answer of our own told of `room`."""
        self._gone.pop(room.name, None)
        before = self._rooms.get(room.name)
        if self._sids.get(room.name, room.sid) != room.sid:
            # Made anew: whoever was in the one before is not in this one yet.
            self._people[room.name] = Present((), at)
        self._sids[room.name] = room.sid
        self._rooms[room.name] = Present(room, at)
        if before is None or before.value != room:
            self._on_change(room.name)

    def saw_gone(self, name: str, at: datetime) -> None:
        """Two reads agreed that there is no room `name`."""
        self._gone[name] = at
        self._people.pop(name, None)
        self._rooms.pop(name, None)
        self._on_change(name)

    def saw_people(self, name: str, people: People, at: datetime) -> None:
        """The participants of the room `name` were listed."""
        before = self._people.get(name)
        if before is not None and before.at > at:
            return  # an answer that was asked for later has been faster
        self._people[name] = Present(people, at)
        if before is None or before.value != people:
            self._on_change(name)

    def failed(self, at: datetime, why: str) -> None:
        """The bulk read failed: what is not known otherwise is Unknown from now on."""
        self._failure = (at, why)

    def snapshot(self, rooms: Iterable[LiveKitRoom], sent_at: datetime) -> list[str]:
        """Take in a complete ListRooms sent at `sent_at`; the names of rooms whose people should be read again."""
        if self._failure is not None or self._snapshot_at is None:
            self.answers_since = sent_at
        self._failure = None
        self._snapshot_at = sent_at
        listed = {room.name: room for room in rooms}
        recount = [name for name, room in listed.items() if self._take(room, sent_at)]
        for name, known in list(self._rooms.items()):
            if name not in listed and known.at < sent_at:
                # One read of two: the planner of rooms asks again before it believes it.
                del self._rooms[name]
                self._on_change(name)
        self._gone = {name: at for name, at in self._gone.items() if name not in listed or at >= sent_at}
        self._people = {name: seen for name, seen in self._people.items() if name in listed}
        return recount

    def names(self) -> list[str]:
        """Names of all rooms that are known to be there."""
        return list(self._rooms)

    def _take(self, room: LiveKitRoom, sent_at: datetime) -> bool:
        """Store a listed room; whether its people should be read."""
        before = self._rooms.get(room.name)
        if before is not None and before.at >= sent_at:
            return False
        if room.name in self._gone and self._gone[room.name] >= sent_at:
            return False
        self._rooms[room.name] = Present(room, sent_at)
        self._sids[room.name] = room.sid
        if before is None or before.value != room:
            self._on_change(room.name)
        people = self._people.get(room.name)
        if people is None:
            return room.num_participants > 0
        settled = all(person.is_active for person in people.value)
        return room.num_participants != len(people.value) or not settled
