"""When sweeps work, how far they are when a leader goes, and which rooms of LiveKit are closed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.names import livekit_room_name
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.leftovers import Scanned
from controller.backends.restores import Differences
from controller.backends.sweep_lock import SweepTaken
from controller.clients.redis.keys import Keys
from controller.clients.redis.sweeps import Notes
from controller.errors import Backend, BackendRefused, BackendUnavailable, LeadershipLost, NotFound
from controller.facts.leftover import Leftover, Remedy, SweepKind
from controller.facts.livekit import LiveKitRoom
from controller.telemetry.pulse import LoopName
from controller.triggers.sweep import Sweeper, SweepTimes
from controller.triggers.sweep_rooms import RoomSweep
from controller.views.cache import ObjectCache
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

UID = "u-left"
REVIVED = "rk-0123456789abcdef0123"


async def _nothing_to_settle(*_pool: Any) -> Differences:
    return Differences()


class FakeLock:
    """The lock with its notes. `owner` is another sweep that has it; `is_away` is a Redis that does not answer."""

    def __init__(self) -> None:
        self.owner = ""
        self.is_away = False
        self.notes: dict[str, str] = {"ended:deep": str(b.ms(0))}

    async def take(self) -> Notes:
        if self.is_away:
            raise BackendUnavailable(Backend.REDIS, "sweeps", "no answer")
        if self.owner:
            raise SweepTaken(self.owner)
        return Notes(dict(self.notes))

    async def keep(self) -> None:
        pass

    async def give_back(self, notes: Mapping[str, Any]) -> None:
        self.notes |= {name: str(value) for name, value in notes.items()}


class FakeFinder:
    """A pool with 5 pages of keys. `found` has what is left over by cursor; `broken` cursors cannot be read."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.found: dict[str, list[Leftover]] = {}
        self.broken: set[str] = set()

    async def scan(self, cursor: str) -> Scanned:
        self.asked.append((asyncio.get_running_loop().time(), cursor))
        after = int(cursor) + 1
        return Scanned("0" if after == 5 else str(after), {Keys(b.CLUSTER, cursor): ["a", "b"]})

    async def judged(self, keys: Keys, _names: Any) -> list[Leftover]:
        if keys.namespace in self.broken:
            raise BackendRefused(Backend.REDIS, "lasting", "WRONGTYPE")
        return self.found.get(keys.namespace, [])

    async def nothing(self, _namespace: str) -> list[Leftover]:
        return []

    unlisted = reserved = beats = nothing


class FakeCleaner:
    """Cleans; `broken` are ids that cannot be cleaned."""

    def __init__(self) -> None:
        self.cleaned: list[str] = []
        self.broken: set[str] = set()

    async def clean(self, leftover: Leftover) -> bool:
        if leftover.id in self.broken:
            raise RuntimeError("a bug")
        self.cleaned.append(leftover.id)
        return True


class World:
    """LiveKit with one room, and Kubernetes with or without its Room."""

    def __init__(self, room: LiveKitRoom, namespaces: tuple[str, ...] = ()) -> None:
        self.deleted: list[str] = []
        self.found: Any = NotFound(Backend.KUBERNETES, "get", "it is not there")
        self.leads = True
        self.pools: tuple[str, ...] = ()
        self.cache = ObjectCache(Room)
        view = LiveKitView()
        view.snapshot([room], b.at(0))
        server = SimpleNamespace(name="default", view=view, client=SimpleNamespace(delete_room=self._delete))
        self.servers = [server]
        pool = SimpleNamespace(redis=None, keys=Keys(b.CLUSTER, b.NAMESPACE))
        backends = SimpleNamespace(
            cluster_id=b.CLUSTER,
            servers=self.servers,
            rooms=self.cache,
            pools=SimpleNamespace(
                namespaces=lambda: self.pools, opened=lambda _namespace: pool, unbound=lambda _namespace: pool
            ),
            kubernetes=SimpleNamespace(get=self._get),
            leadership=SimpleNamespace(require=self._require),
            clock=SimpleNamespace(now=lambda: b.at(asyncio.get_running_loop().time())),
        )
        self.lock, self.finder = FakeLock(), FakeFinder()
        self.damaged: list[str] = []
        self.cleaner = FakeCleaner()
        restorer = SimpleNamespace(sweep=_nothing_to_settle)
        rooms = RoomSweep(cast("Backends", backends), lambda namespace: namespace in (namespaces or (namespace,)), 60)
        make: Any = Sweeper
        times = SweepTimes(60, 3600)
        self.sweeper: Sweeper = make(
            *(backends, restorer, rooms, self.finder, self.cleaner, self.lock, times),
            lambda _namespace, key: self.damaged.append(key),
        )

    async def _delete(self, name: str) -> None:
        self.deleted.append(name)

    async def _get(self, *_name: Any) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def _require(self) -> None:
        if not self.leads:
            raise LeadershipLost("another replica")

    async def run(self, seconds: float) -> None:
        """Sweep for so long."""
        loop = asyncio.create_task(self.sweeper.run(a_pulse(LoopName.SWEEP)))
        await asyncio.sleep(seconds)
        loop.cancel()


def left_over(name: str = "", **mark: str) -> LiveKitRoom:
    made = b.a_mark(room_uid=UID, **mark)
    return LiveKitRoom(name or livekit_room_name(made.cluster, made.namespace, UID), "RM_1", 2, made)


def test_a_room_without_its_room_is_closed_when_it_was_so_for_a_while_and_within_two_minutes() -> None:
    async def story(_: VirtualTime) -> None:
        world, room = World(left_over()), left_over()
        await world.run(45)
        assert world.deleted == []
        # Found at the end of a whole interval, and then not only at the end of the next one.
        await world.run(60)
        assert set(world.deleted) == {room.name}

    run(story)


@pytest.mark.parametrize(
    ("case", "room", "namespaces"),
    [
        ("of another cluster", left_over(cluster="another"), ()),
        ("of a namespace that we do not serve", left_over(), ("elsewhere",)),
        ("with a mark that another client copied", left_over("a-room-of-theirs"), ()),
    ],
)
def test_a_room_that_is_not_ours_stays(case: str, room: LiveKitRoom, namespaces: tuple[str, ...]) -> None:
    async def story(_: VirtualTime) -> None:
        world = World(room, namespaces)
        await world.run(300)
        assert world.deleted == [], case

    run(story)


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("Kubernetes has its Room", {"metadata": {"uid": UID}}),
        ("Kubernetes does not answer", BackendUnavailable(Backend.KUBERNETES, "get", "no answer")),
    ],
)
def test_a_room_stays_unless_kubernetes_says_that_its_room_is_gone(case: str, found: Any) -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.found = found
        await world.run(300)
        assert world.deleted == [], case

    run(story)


def test_a_replica_that_does_not_lead_closes_no_room() -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.leads = False
        await world.run(300)
        assert world.deleted == []

    run(story)


@pytest.mark.parametrize(
    ("case", "unmarked", "tombstones", "is_marked", "closed"),
    [
        ("ours, over, made again by a client", {REVIVED}, {REVIVED}, False, [REVIVED]),
        ("of another cluster, or of an application: no tombstone", {REVIVED}, set(), False, []),
        ("it has got a mark meanwhile", {REVIVED}, {REVIVED}, True, []),
    ],
)
def test_a_room_that_a_client_made_again_after_its_end_is_closed(
    monkeypatch: pytest.MonkeyPatch, case: str, unmarked: set[str], tombstones: set[str], is_marked: bool, closed: Any
) -> None:
    async def tombstoned(_redis: Any, _keys: Any, names: list[str]) -> frozenset[str]:
        return frozenset(names) & tombstones

    monkeypatch.setattr("controller.triggers.sweep_rooms.tombstoned", tombstoned)

    async def story(_: VirtualTime) -> None:
        world = World(LiveKitRoom("x", "RM_x", 0, None))
        world.pools = ("calls",)
        (server,) = world.servers
        server.view.unmarked = frozenset(unmarked)
        mark = b.a_mark() if is_marked else None
        server.client.list_rooms = lambda names: _answer((LiveKitRoom(names[0], "RM_2", 2, mark),))
        await world.run(20)
        assert world.deleted == closed, case

    run(story)


def test_rooms_of_others_do_not_keep_a_later_one_from_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {f"rk-{number:020d}" for number in range(250)}
    asked: list[list[str]] = []

    async def tombstoned(_redis: Any, _keys: Any, names: list[str]) -> frozenset[str]:
        asked.append(names)
        return frozenset()

    monkeypatch.setattr("controller.triggers.sweep_rooms.tombstoned", tombstoned)

    async def story(_: VirtualTime) -> None:
        world = World(LiveKitRoom("x", "RM_x", 0, None))
        world.pools = ("calls",)
        world.servers[0].view.unmarked = frozenset(others)
        await world.run(200)
        assert {name for names in asked[:3] for name in names} == others
        assert max(map(len, asked)) == 100

    run(story)


def test_rooms_are_closed_also_while_redis_does_not_answer() -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.lock.is_away = True
        await world.run(120)
        assert set(world.deleted) == {left_over().name}

    run(story)


def leftover(id_: str, namespace: str = b.NAMESPACE) -> Leftover:
    return Leftover(SweepKind.USERS, Remedy.FREE, namespace, id_, "it is left over")


def idle_world() -> World:
    return World(LiveKitRoom("x", "RM_x", 0, None))


def test_a_deep_sweep_looks_at_all_keys_a_few_at_a_time_and_once_an_hour() -> None:
    async def story(time: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes = {}
        await world.run(3000)
        assert [cursor for _, cursor in world.finder.asked] == ["0", "1", "2", "3", "4"]
        moments = [moment for moment, _ in world.finder.asked]
        assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(moments))
        notes = Notes(world.lock.notes)
        assert (notes.number("runs:deep"), notes.number("keys:deep"), notes.text("cursor")) == (1, 10, "0")
        assert notes.number("succeeded:deep") >= b.ms(5)
        assert notes.number("runs:light") >= 49
        await world.run(1000)
        assert len(world.finder.asked) == 10

    run(story)


def test_the_next_leader_goes_on_where_the_last_one_stopped() -> None:
    async def story(_: VirtualTime) -> None:
        first, second = idle_world(), idle_world()
        first.lock.notes = {}
        await first.run(5.15)
        assert [cursor for _, cursor in first.finder.asked] == ["0", "1"]
        second.lock.notes = first.lock.notes
        await second.run(100)
        assert [cursor for _, cursor in second.finder.asked] == ["2", "3", "4"]

    run(story)


@pytest.mark.parametrize("cursor", ["nonsense", "1@x", "-1", "9" * 30])
def test_a_cursor_that_cannot_be_read_begins_again(cursor: str) -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes = {"cursor": cursor}
        await world.run(100)
        assert [asked for _, asked in world.finder.asked] == ["0", "1", "2", "3", "4"]

    run(story)


def test_one_bad_pool_and_one_bad_leftover_stop_nothing_and_are_counted() -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes = {}
        world.finder.found = {"1": [leftover("alice"), leftover("bob")], "3": [leftover("carol")]}
        world.finder.broken, world.cleaner.broken = {"0"}, {"alice"}
        await world.run(100)
        assert world.cleaner.cleaned == ["bob", "carol"]
        notes = Notes(world.lock.notes)
        assert (notes.number("found:users"), notes.number("cleaned:users")) == (3, 2)
        assert (notes.number("errors:users"), notes.text("succeeded:deep")) == (2, "")

    run(story)


def test_the_operator_does_not_sweep_beside_another_sweep_and_goes_on_soon_after_it() -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.lock.notes, world.lock.owner = {}, "by hand"
        sweeping = asyncio.create_task(world.run(1000))
        await asyncio.sleep(200)
        assert (world.finder.asked, world.deleted) == ([], [])
        world.lock.owner = ""
        await asyncio.sleep(60)
        assert len(world.finder.asked) == 5
        assert set(world.deleted) == {left_over().name}
        await sweeping

    run(story)


@pytest.mark.parametrize(("name", "is_urgent"), [("queue", True), ("reservations", True), ("signals", False)])
def test_a_damaged_key_is_recorded_and_users_whom_it_may_have_lost_are_looked_for_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, is_urgent: bool
) -> None:
    keys = Keys(b.CLUSTER, b.NAMESPACE)
    left = [(f"{keys.prefix}{name}",)]

    async def mend_pool(*_pool: Any) -> tuple[str, ...]:
        return left.pop() if left else ()

    monkeypatch.setattr("controller.triggers.sweep.mend_pool", mend_pool)

    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.pools = (b.NAMESPACE,)
        await world.run(30)
        assert world.damaged == [name]
        # The next deep sweep would begin in an hour.
        assert len(world.finder.asked) == (5 if is_urgent else 0)

    run(story)


async def _answer(rooms: tuple[LiveKitRoom, ...]) -> tuple[LiveKitRoom, ...]:
    return rooms
