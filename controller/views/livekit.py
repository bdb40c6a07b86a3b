"""The rooms of one LiveKit server: the latest snapshot of all rooms, and the newer answers to our own requests.

`triggers.poll` sends one bulk ListRooms per interval; its answer becomes one immutable snapshot. The answer to a
request of our own that was sent after the snapshot's request is newer, and wins until the next snapshot. The
participants of a room are read only where a count has changed or a webhook disagrees. Neighbors: `triggers.poll` feeds
it, `triggers.router` follows it, `observe` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.livekit import LiveKitParticipant, LiveKitRoom, seats_taken
from controller.facts.observation import Absent, Observation, Present, Unknown
from controller.facts.silences import LONG_AGO
from controller.views.ghosts import GhostRecord, People
from controller.views.silences import SilenceRecord

# LiveKit's count of a room follows its list of participants within 4.8 s.
_COUNT_LAGS = timedelta(seconds=5)
_ROOMS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Dispute:
    """A difference between LiveKit's count of a room and its list of participants, and since when it exists."""

    counted: int
    listed: int
    since: datetime


class LiveKitView:
    """Observations of one server. All times are those at which the request was *sent*.

    `silences` are the outages that are over, and the times in which no replica asked; `silent_since` is the last answer
    before an outage that goes on. `unmarked` are rooms without any mark and without a Room that have a name as ours do:
    a client may have made one of ours again, after its end.
    """

    def __init__(self) -> None:
        self._changed: list[Callable[[Sequence[str]], None]] = []
        self._found: list[Callable[[Sequence[str]], None]] = []
        self._lost: list[Callable[[Sequence[str]], None]] = []
        self._doubted: list[Callable[[str], None]] = []
        self._suspected: list[Callable[[str], None]] = []
        self._rooms: dict[str, Present[LiveKitRoom]] = {}
        # Rooms about which a list said nothing new and left nothing to do, with what was known of their people then.
        self._at_rest: dict[str, tuple[LiveKitRoom, Present[People] | None]] = {}
        self._sids: dict[str, tuple[str, datetime]] = {}
        self._gone: dict[str, datetime] = {}
        self._people: dict[str, Present[People]] = {}
        self._disputes: dict[str, _Dispute] = {}
        self._miscounted: set[str] = set()
        # Rooms whose people are to be read, and whether that is because nobody has read them since the start.
        self._unread: dict[str, bool] = {}
        self.unmarked: frozenset[str] = frozenset()
        self._unanswered: dict[str, datetime] = {}
        self._snapshot_at: datetime | None = None
        self._restarts = 0
        self._answered_at = LONG_AGO
        self._was_not_asked = True
        self.ghosts = GhostRecord()
        self.silences = SilenceRecord()
        self.silent_since: datetime | None = None
        self._failure: tuple[datetime, str] | None = None

    def follow(
        self,
        *,
        changed: Callable[[Sequence[str]], None] | None = None,
        found: Callable[[Sequence[str]], None] | None = None,
        lost: Callable[[Sequence[str]], None] | None = None,
        doubted: Callable[[str], None] | None = None,
        suspected: Callable[[str], None] | None = None,
    ) -> None:
        """Register a follower. Each callable receives LiveKit names of rooms.

        `lost` receives rooms that a list no longer shows, `changed` rooms that differ otherwise, `found` rooms of which
        something is known for the first time since the start, `doubted` a room whose participants may have changed, and
        `suspected` one whose list may name people who are gone.
        """
        if changed is not None:
            self._changed.append(changed)
        if found is not None:
            self._found.append(found)
        if lost is not None:
            self._lost.append(lost)
        if doubted is not None:
            self._doubted.append(doubted)
        if suspected is not None:
            self._suspected.append(suspected)

    def doubt(self, name: str) -> None:
        """Another witness (a webhook, a gateway) says that the people in the room `name` have changed."""
        self._want_news(name)
        for doubted in self._doubted:
            doubted(name)

    def suspect(self, name: str) -> None:
        """Another witness says that a participant in the room `name` is gone, or it matters now whether one is."""
        for suspected in self._suspected:
            suspected(name)

    def room(self, name: str, now: datetime) -> Observation[LiveKitRoom]:
        """The latest observation of the room `name`; Unknown during an outage or before the first snapshot."""
        known = self._rooms.get(name)
        if known is not None:
            # A room at rest was in the latest list as well.
            at = self._snapshot_at if name in self._at_rest else None
            return known if at is None or at <= known.at else Present(known.value, at)
        gone_at = self._gone.get(name)
        if gone_at is not None:
            return Absent(gone_at)
        if self._failure is not None:
            return Unknown(*self._failure)
        if self._snapshot_at is None:
            return Unknown(now, "LiveKit's rooms have not been listed yet")
        return Absent(self._snapshot_at)

    def listed(self) -> tuple[LiveKitRoom, ...]:
        """All rooms that concern us, as they were last seen."""
        return tuple(known.value for known in self._rooms.values())

    def people(self, name: str, now: datetime) -> Observation[People]:
        """The participants of the room `name`, without ghosts; Unknown if they have not been read."""
        listed = self._people.get(name)
        if listed is None:
            return Unknown(now, "the participants have not been listed yet")
        return self.ghosts.living(name, listed)

    def disputed(self) -> Iterator[tuple[str, datetime]]:
        """The rooms of which LiveKit has listed more people than it counts for long, each with the time since when."""
        for name in self._miscounted:
            dispute = self._disputes.get(name)
            if dispute is not None and dispute.counted < dispute.listed:
                yield name, dispute.since

    def occupied(self) -> Iterator[tuple[str, People]]:
        """The rooms in which LiveKit lists people, with all whom it lists."""
        for name, listed in self._people.items():
            if listed.value and name in self._rooms:
                yield name, listed.value

    def saw_alive(self, name: str, person: LiveKitParticipant, at: datetime) -> None:
        """Store that a participant answered a probe that was sent `at` this time."""
        if self.ghosts.saw_alive(name, person, at):
            self._leave_rest(name)
            self._tell_of_change((name,))

    def saw_ghost(self, name: str, person: LiveKitParticipant, since: datetime, at: datetime) -> bool:
        """Store that no node answers for a participant, who has been gone `since`. Returns whether that is new."""
        is_new = self.ghosts.saw_ghost(name, person, since, at)
        if is_new:
            # The ghosts explain the difference; the next list shows whether there is another.
            self._disputes.pop(name, None)
            self._miscounted.discard(name)
            self._leave_rest(name)
        self._tell_of_change((name,))
        return is_new

    def is_gone(self, name: str) -> bool:
        """Whether two different reads agreed that there is no room `name`, and no read has shown it since."""
        return name in self._gone

    def is_miscounted(self, name: str) -> bool:
        """Whether LiveKit's count and list of participants in `name` differ for longer than the count usually lags."""
        return name in self._miscounted

    def sid_since(self, name: str) -> datetime | None:
        """When the current sid of the room `name` was first seen; None if the room has not been seen."""
        known = self._sids.get(name)
        return known[1] if known is not None else None

    def forget(self, name: str) -> None:
        """Drop all observations of the room `name`. Its Room is gone, and no other Room ever gets this name."""
        for known in (self._gone, self._people, self._rooms, self._at_rest, self._sids, self._disputes):
            known.pop(name, None)
        self.ghosts.forget(name)
        self._unanswered.pop(name, None)
        self._miscounted.discard(name)
        self._unread.pop(name, None)

    def prune(self, has_room: Callable[[str], bool]) -> None:
        """Drop what is remembered of names that LiveKit does not list and for which no Room exists.

        An answer that was under way when a Room went has brought its name back.
        """
        for known in (self._gone, self._people, self._sids, self._disputes):
            for name in [name for name in known if name not in self._rooms and not has_room(name)]:
                self.forget(name)

    @property
    def failure(self) -> str:
        """Why the server does not answer; empty while it does."""
        return self._failure[1] if self._failure is not None else ""

    def saw_room(self, room: LiveKitRoom, at: datetime) -> None:
        """Store `room` from the answer to our own request, which was sent `at` this time."""
        self._gone.pop(room.name, None)
        self._at_rest.pop(room.name, None)
        before = self._rooms.get(room.name)
        if self._saw_sid(room, at):
            # A new room under the same name: the participants of the previous room have not joined it yet.
            self._people[room.name] = Present((), at)
            self.ghosts.forget(room.name)
        self._rooms[room.name] = Present(room, at)
        if before is None or before.value != room:
            self._tell_of_change((room.name,))

    def creation_unanswered(self, name: str, at: datetime) -> None:
        """Store that a CreateRoom was given up `at` this time: a server that is frozen may still carry it out."""
        self._unanswered[name] = at

    def may_be_created(self, name: str) -> bool:
        """Whether a CreateRoom of ours may still be under way: no list that was asked for later has been answered."""
        return name in self._unanswered

    def saw_gone(self, name: str, at: datetime) -> None:
        """Store that two reads agreed that there is no room `name`."""
        self._gone[name] = at
        for known in (self._people, self._rooms, self._at_rest):
            known.pop(name, None)
        self.ghosts.forget(name)
        self._tell_of_change((name,))

    def saw_people(self, name: str, people: People, at: datetime) -> None:
        """Store a list of the participants of the room `name`, requested `at` this time."""
        before = self._people.get(name)
        if before is not None and before.at > at:
            return  # the answer to a later request came first
        self._people[name] = Present(people, at)
        self.ghosts.saw_list(name, people)
        is_first = self._unread.pop(name, False)
        if before is None or before.value != people:
            self._tell_of_change((name,), is_first=is_first)

    def failed(self, at: datetime, why: str) -> None:
        """Store that the bulk read failed `at` this time: rooms that were not seen before are now Unknown."""
        if self._failure is None:
            self.silent_since = self._snapshot_at or at
        self._failure = (at, why)

    def snapshot(self, rooms: Iterable[LiveKitRoom], sent_at: datetime) -> list[str]:
        """Store a complete ListRooms, requested at `sent_at`.

        Returns the names of the rooms whose participants should be read again.
        """
        for recount in self.in_slices(rooms, sent_at):
            if recount is not None:
                return recount
        return []

    def in_slices(self, rooms: Iterable[LiveKitRoom], sent_at: datetime) -> Iterator[list[str] | None]:
        """Store a complete ListRooms as `snapshot` does, with pauses: each None is one, and the names come last.

        Newer answers to our own requests may come in the pauses. Until the end a room that was not listed is as it was.
        """
        restarts, listed, is_first = self._restarts, {room.name: room for room in rooms}, self._snapshot_at is None
        # Participants may have left while we were away, and no webhook follows: read all rooms of the first snapshot.
        unread = {name: True for name in listed if name not in self._people} if is_first else self._unread
        self._unread = {name: since_start for name, since_start in unread.items() if name in listed}
        changed, recount = [], []
        at_rest = self._at_rest
        for number, (name, room) in enumerate(listed.items(), 1):
            rest = at_rest.get(name)
            is_at_rest = rest is not None and rest[0] is room and rest[1] is self._people.get(name)
            if not is_at_rest and self._is_older(name, sent_at):
                has_changed, wants_people = self._take(room, sent_at), self._wants_people(room)
                if has_changed:
                    changed.append(name)
                    if not is_first:
                        self._want_news(name)
                if wants_people:
                    recount.append(name)
                if has_changed or wants_people or name in self._disputes:
                    at_rest.pop(name, None)
                else:
                    at_rest[name] = room, self._people.get(name)
            if number % _ROOMS_AT_ONCE == 0:
                yield None
                if self._restarts != restarts:
                    return  # the clock was set, and the time of this list means nothing any longer
        if self._was_not_asked or self._failure is not None:
            self.silences.add(self._answered_at, sent_at)
        self._was_not_asked = False
        self._failure = self.silent_since = None
        self._snapshot_at = self._answered_at = sent_at
        self._unanswered = {name: at for name, at in self._unanswered.items() if at >= sent_at}
        # This is only the first read: the planner of rooms asks again before it takes a room for gone.
        lost = [name for name, known in self._rooms.items() if name not in listed and known.at < sent_at]
        for name in lost:
            del self._rooms[name]
            at_rest.pop(name, None)
        self._gone = {name: at for name, at in self._gone.items() if name not in listed or at >= sent_at}
        self._people = {name: seen for name, seen in self._people.items() if name in listed or seen.at > sent_at}
        for tell in self._lost:
            tell(lost)
        self._tell_of_change(changed, is_first=is_first)
        yield recount

    @property
    def answered_at(self) -> datetime:
        """When the latest ListRooms that was answered was sent, by this replica or one before it."""
        return self._answered_at

    @property
    def was_listed(self) -> bool:
        """Whether there has been a snapshot since the start, or since the clock was set."""
        return self._snapshot_at is not None

    def succeed(self, answered_at: datetime) -> None:
        """Begin after another replica, which LiveKit answered last at `answered_at`; no replica has asked since."""
        self._answered_at, self._was_not_asked = answered_at, True

    def restart(self, at: datetime) -> None:
        """Drop all observations, as after a start, since the clock was set to `at`.

        Earlier times cannot be compared with later ones.
        """
        self._restarts += 1
        self._answered_at = min(self._answered_at, at)
        for known in (self._rooms, self._at_rest, self._gone, self._people, self._sids, self._disputes):
            known.clear()
        self._miscounted.clear()
        self.ghosts.clear()
        self._unread.clear()
        self._unanswered = dict.fromkeys(self._unanswered, at)
        self._snapshot_at = None
        if self._failure is not None:
            self.silent_since, self._failure = at, (at, self._failure[1])

    def names(self) -> list[str]:
        """The names of all rooms that LiveKit is known to have."""
        return list(self._rooms)

    def unread(self) -> tuple[str, ...]:
        """The names of the rooms whose people are still to be read, as those of all are after the first list."""
        return tuple(self._unread)

    def _want_news(self, name: str) -> None:
        """What the next list of the people in the room `name` says is news, also if it is the first one."""
        if name in self._unread:
            self._unread[name] = False

    def is_unread(self, name: str) -> bool:
        """Whether nobody has read since the start who is in the room `name`, which was there then."""
        return self._unread.get(name, False)

    def _tell_of_change(self, names: Sequence[str], *, is_first: bool = False) -> None:
        for tell in self._found if is_first else self._changed:
            tell(names)

    def _leave_rest(self, name: str) -> None:
        """Let the next list look at the room again. Until now it was in each list, as its observation has to say."""
        if self._at_rest.pop(name, None) is not None and self._snapshot_at is not None:
            known = self._rooms[name]
            self._rooms[name] = Present(known.value, max(known.at, self._snapshot_at))

    def _saw_sid(self, room: LiveKitRoom, at: datetime) -> bool:
        """Store the sid of the room. Returns whether another room was known under this name."""
        known = self._sids.get(room.name)
        if known is None or known[0] != room.sid:
            self._sids[room.name] = (room.sid, at)
        return known is not None and known[0] != room.sid

    def _is_older(self, name: str, sent_at: datetime) -> bool:
        """Whether the latest observation of `name` is older than the snapshot."""
        known = self._rooms.get(name)
        gone_at = self._gone.get(name)
        return (known is None or known.at < sent_at) and (gone_at is None or gone_at < sent_at)

    def _take(self, room: LiveKitRoom, sent_at: datetime) -> bool:
        """Store a listed room. Returns whether anything about it has changed."""
        before = self._rooms.get(room.name)
        self._rooms[room.name] = Present(room, sent_at)
        if self._saw_sid(room, sent_at):
            # Another room under the same name: its participants have not been read.
            self._people.pop(room.name, None)
            self.ghosts.forget(room.name)
            self._unread[room.name] = False
        was_miscounted = room.name in self._miscounted
        is_miscounted = self._is_disputed_for_long(room, sent_at)
        if is_miscounted:
            self._miscounted.add(room.name)
        else:
            self._miscounted.discard(room.name)
        is_same = before is not None and (before.value is room or before.value == room)
        return not is_same or is_miscounted != was_miscounted

    def _is_disputed_for_long(self, room: LiveKitRoom, sent_at: datetime) -> bool:
        """Whether the same difference of count and list has lasted too long to be a lag."""
        people = self._people.get(room.name)
        listed = seats_taken(people.value) if people is not None else room.num_participants
        if people is None or self._agrees(room, people):
            self._disputes.pop(room.name, None)
            return False
        dispute = self._disputes.get(room.name)
        if dispute is None or (dispute.counted, dispute.listed) != (room.num_participants, listed):
            dispute = self._disputes[room.name] = _Dispute(room.num_participants, listed, sent_at)
        return people.at - dispute.since > _COUNT_LAGS

    def _wants_people(self, room: LiveKitRoom) -> bool:
        """Whether the participants of a listed room should be read (again).

        Rooms of the first snapshot are read until one read has succeeded.
        """
        people = self._people.get(room.name)
        if people is None:
            return room.num_participants > 0 or room.name in self._unread
        living = self.ghosts.living(room.name, people).value
        return not self._agrees(room, people) or not all(person.is_active for person in living)

    def _agrees(self, room: LiveKitRoom, people: Present[People]) -> bool:
        """Whether LiveKit's count is that of its list. It may count ghosts, or not."""
        living = self.ghosts.living(room.name, people)
        return room.num_participants in {seats_taken(people.value), seats_taken(living.value)}
