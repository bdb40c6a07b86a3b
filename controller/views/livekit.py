"""What is known of one LiveKit server's rooms: the latest snapshot of all, and what our own calls have answered since.

There is one bulk ListRooms per interval (`triggers.poll`); its answer becomes one immutable snapshot. An answer to a
call of our own that began after the snapshot's request is newer and wins until the next one. People are read only
where a count has changed or a webhook disagrees. Neighbors: `triggers.poll` feeds it, `triggers.router` follows it,
`observe` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.livekit import LiveKitParticipant, LiveKitRoom, seats_taken
from controller.facts.observation import Absent, Observation, Present, Unknown

People = tuple[LiveKitParticipant, ...]

# LiveKit's count of a room follows its list of people within 4.8 s.
_COUNT_LAGS = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Dispute:
    """LiveKit counts so many and lists so many, since then."""

    counted: int
    listed: int
    since: datetime


class LiveKitView:
    """Observations of one server. All times are those at which the request was *sent*.

    `answers_since` is the first answer after an outage or a start; `silent_since` the last one before an outage that
    goes on.
    """

    def __init__(self) -> None:
        self._changed: list[Callable[[Sequence[str]], None]] = []
        self._lost: list[Callable[[Sequence[str]], None]] = []
        self._doubted: list[Callable[[str], None]] = []
        self._rooms: dict[str, Present[LiveKitRoom]] = {}
        self._sids: dict[str, tuple[str, datetime]] = {}
        self._gone: dict[str, datetime] = {}
        self._people: dict[str, Present[People]] = {}
        self._disputes: dict[str, _Dispute] = {}
        self._miscounted: set[str] = set()
        self._unread: set[str] = set()
        self._snapshot_at: datetime | None = None
        self.answers_since: datetime | None = None
        self.silent_since: datetime | None = None
        self._failure: tuple[datetime, str] | None = None

    def follow(
        self,
        *,
        changed: Callable[[Sequence[str]], None] | None = None,
        lost: Callable[[Sequence[str]], None] | None = None,
        doubted: Callable[[str], None] | None = None,
    ) -> None:
        """Register a follower. All get LiveKit names of rooms.

        `lost` gets rooms that a list no longer shows, `changed` those of which something else is new, and `doubted` a
        room whose list of people another witness contradicts.
        """
        if changed is not None:
            self._changed.append(changed)
        if lost is not None:
            self._lost.append(lost)
        if doubted is not None:
            self._doubted.append(doubted)

    def doubt(self, name: str) -> None:
        """Another witness (a webhook, a gateway) says that the people in the room `name` have changed."""
        for doubted in self._doubted:
            doubted(name)

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

    def is_miscounted(self, name: str) -> bool:
        """Whether LiveKit's count and its list of the people in `name` have disagreed for longer than it lags."""
        return name in self._miscounted

    def sid_since(self, name: str) -> datetime | None:
        """Since when the room `name` has the sid that it has; None if it has not been seen."""
        known = self._sids.get(name)
        return known[1] if known is not None else None

    def forget(self, name: str) -> None:
        """The Room behind `name` is gone; the name is never used again."""
        for known in (self._gone, self._people, self._rooms, self._sids, self._disputes):
            known.pop(name, None)
        self._miscounted.discard(name)
        self._unread.discard(name)

    @property
    def failure(self) -> str:
        """Why the server cannot be asked at present; empty while it answers."""
        return self._failure[1] if self._failure is not None else ""

    def saw_room(self, room: LiveKitRoom, at: datetime) -> None:
        """An answer of our own told of `room`."""
        self._gone.pop(room.name, None)
        before = self._rooms.get(room.name)
        if self._saw_sid(room, at):
            # Made anew: whoever was in the one before is not in this one yet.
            self._people[room.name] = Present((), at)
        self._rooms[room.name] = Present(room, at)
        if before is None or before.value != room:
            self._tell_of_change((room.name,))

    def saw_gone(self, name: str, at: datetime) -> None:
        """Two reads agreed that there is no room `name`."""
        self._gone[name] = at
        self._people.pop(name, None)
        self._rooms.pop(name, None)
        self._tell_of_change((name,))

    def saw_people(self, name: str, people: People, at: datetime) -> None:
        """The participants of the room `name` were listed."""
        before = self._people.get(name)
        if before is not None and before.at > at:
            return  # an answer that was asked for later has been faster
        self._people[name] = Present(people, at)
        self._unread.discard(name)
        if before is None or before.value != people:
            self._tell_of_change((name,))

    def failed(self, at: datetime, why: str) -> None:
        """The bulk read failed: what is not known otherwise is Unknown from now on."""
        if self._failure is None:
            self.silent_since = self._snapshot_at or at
        self._failure = (at, why)

    def snapshot(self, rooms: Iterable[LiveKitRoom], sent_at: datetime) -> list[str]:
        """Take in a complete ListRooms sent at `sent_at`; the names of rooms whose people should be read again."""
        is_first = self._snapshot_at is None
        if self._failure is not None or is_first:
            self.answers_since = sent_at
        self._failure = self.silent_since = None
        self._snapshot_at = sent_at
        listed = {room.name: room for room in rooms}
        # Whoever left while we were away has left an empty room, and no news of it will come.
        self._unread = set(listed) if is_first else self._unread & listed.keys()
        # One read of two: the planner of rooms asks again before it believes that one is gone.
        lost = [name for name, known in self._rooms.items() if name not in listed and known.at < sent_at]
        for name in lost:
            del self._rooms[name]
        changed, recount = [], []
        for room in listed.values():
            if self._is_older(room.name, sent_at):
                if self._take(room, sent_at):
                    changed.append(room.name)
                if self._wants_people(room):
                    recount.append(room.name)
        self._gone = {name: at for name, at in self._gone.items() if name not in listed or at >= sent_at}
        self._people = {name: seen for name, seen in self._people.items() if name in listed or seen.at > sent_at}
        for tell in self._lost:
            tell(lost)
        self._tell_of_change(changed)
        return recount

    def restart(self, at: datetime) -> None:
        """Forget what was seen, as after a start: the clock was set to `at`, and earlier moments compare with no later
        ones.
        """
        for known in (self._rooms, self._gone, self._people, self._sids, self._disputes):
            known.clear()
        self._miscounted.clear()
        self._unread.clear()
        self._snapshot_at, self.answers_since = None, at
        if self._failure is not None:
            self.silent_since, self._failure = at, (at, self._failure[1])

    def names(self) -> list[str]:
        """Names of all rooms that are known to be there."""
        return list(self._rooms)

    def _tell_of_change(self, names: Sequence[str]) -> None:
        for tell in self._changed:
            tell(names)

    def _saw_sid(self, room: LiveKitRoom, at: datetime) -> bool:
        """Whether the room is another one than was known under this name."""
        known = self._sids.get(room.name)
        if known is None or known[0] != room.sid:
            self._sids[room.name] = (room.sid, at)
        return known is not None and known[0] != room.sid

    def _is_older(self, name: str, sent_at: datetime) -> bool:
        """Whether what is known of `name` is older than the snapshot."""
        known = self._rooms.get(name)
        gone_at = self._gone.get(name)
        return (known is None or known.at < sent_at) and (gone_at is None or gone_at < sent_at)

    def _take(self, room: LiveKitRoom, sent_at: datetime) -> bool:
        """Store a listed room; whether anything about it is new."""
        before = self._rooms.get(room.name)
        self._rooms[room.name] = Present(room, sent_at)
        self._saw_sid(room, sent_at)
        was_miscounted = room.name in self._miscounted
        is_miscounted = self._is_disputed_for_long(room, sent_at)
        if is_miscounted:
            self._miscounted.add(room.name)
        else:
            self._miscounted.discard(room.name)
        return before is None or before.value != room or is_miscounted != was_miscounted

    def _is_disputed_for_long(self, room: LiveKitRoom, sent_at: datetime) -> bool:
        """Whether the same count has stood against the same list for so long that it is no lag."""
        people = self._people.get(room.name)
        listed = seats_taken(people.value) if people is not None else room.num_participants
        if people is None or room.num_participants == listed:
            self._disputes.pop(room.name, None)
            return False
        dispute = self._disputes.get(room.name)
        if dispute is None or (dispute.counted, dispute.listed) != (room.num_participants, listed):
            dispute = self._disputes[room.name] = _Dispute(room.num_participants, listed, sent_at)
        return people.at - dispute.since > _COUNT_LAGS

    def _wants_people(self, room: LiveKitRoom) -> bool:
        """Whether who is in a listed room should be read (again). Of those of the first snapshot: until they were."""
        people = self._people.get(room.name)
        if people is None:
            return room.num_participants > 0 or room.name in self._unread
        settled = all(person.is_active for person in people.value)
        return room.num_participants != seats_taken(people.value) or not settled
