"""When sweeps work, how far they are when a leader goes, and which rooms of LiveKit are closed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.api.names import livekit_room_name
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.cleaning import Cleaner
from controller.backends.leftover_rooms import RoomFinder
from controller.backends.leftovers import Scanned
from controller.backends.objects import Objects
from controller.backends.restores import Differences
from controller.backends.sweep_lock import SweepTaken
from controller.clients.redis.keys import Keys
from controller.clients.redis.sweeps import Notes
from controller.errors import (
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Forbidden,
    LeadershipLost,
    NotFound,
)
from controller.facts.leftover import Leftover, Remedy, SweepKind
from controller.facts.livekit import LiveKitRoom
from controller.telemetry import metrics
from controller.telemetry.pulse import LoopName
from controller.triggers.deep_sweep import DeepSweep
from controller.triggers.sweep import Sweeper
from controller.triggers.sweep_rooms import RoomSweep
from controller.triggers.sweep_work import SweepWork
from controller.views.cache import ObjectCache
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

UID = "u-left"
REVIVED = "rk-0123456789abcdef0123"


REFUSED = Forbidden(Backend.REDIS, "sweeps", "the user of Redis may not touch a key of sweeps (NOPERM)", code="NOPERM")


class FakeLock:
    """The lock with its notes. `owner` is another sweep that has it; `error` is what Redis answers instead."""

    def __init__(self) -> None:
        self.owner = ""
        self.error: BackendError | None = None
        self.notes: dict[str, str] = {"ended:deep": str(b.ms(0))}

    async def take(self) -> Notes:
        if self.error is not None:
            raise self.error
        if self.owner:
            raise SweepTaken(self.owner)
        return Notes(dict(self.notes))

    async def keep(self) -> None:
        pass

    async def give_back(self, notes: Mapping[str, Any]) -> None:
        self.notes |= {name: str(value) for name, value in notes.items()}


class FakeFinder:
    """A pool with 5 pages of keys. `found` has what is left over by cursor; `broken` cursors cannot be read.

    `scanned` is called with each cursor.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.found: dict[str, list[Leftover]] = {}
        self.broken: set[str] = set()
        self.error: BackendError | None = None
        self.scanned: Callable[[str], None] = lambda _cursor: None

    async def scan(self, cursor: str) -> Scanned:
        self.asked.append((asyncio.get_running_loop().time(), cursor))
        self.scanned(cursor)
        if self.error is not None:
            raise self.error
        after = int(cursor) + 1
        return Scanned("0" if after == 5 else str(after), {Keys(b.CLUSTER, cursor): ["a", "b"]})

    async def judged(self, keys: Keys, _names: Any) -> list[Leftover]:
        if keys.namespace in self.broken:
            raise BackendRefused(Backend.REDIS, "lasting", "WRONGTYPE")
        return self.found.get(keys.namespace, [])

    def kinds_of(self, _names: Any) -> frozenset[SweepKind]:
        return frozenset({SweepKind.USERS})

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


def _serves(namespaces: tuple[str, ...], namespace: str) -> bool:
    return namespace in (namespaces or (namespace,))


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
        # How many differences the sweep of each pool finds, and in which order pools were swept.
        self.differences: dict[str, int] = {}
        self.settled: list[str] = []
        backends = SimpleNamespace(
            cluster_id=b.CLUSTER,
            servers=self.servers,
            rooms=self.cache,
            pools=SimpleNamespace(
                namespaces=lambda: self.pools,
                opened=lambda _namespace: pool,
                unbound=lambda _namespace: pool,
                check=None,
            ),
            kubernetes=SimpleNamespace(get=self._get),
            leadership=SimpleNamespace(require=self._require),
            clock=SimpleNamespace(now=lambda: b.at(asyncio.get_running_loop().time())),
        )
        self.lock, self.finder = FakeLock(), FakeFinder()
        self.damaged: list[str] = []
        self.cleaner = FakeCleaner()
        restorer = SimpleNamespace(sweep=self._settle)
        serves = partial(_serves, namespaces)
        closing: Any = Cleaner(
            b.CLUSTER, cast("Any", None), pools=cast("Any", None), matches=cast("Any", None), rooms=self.cache,
            objects=Objects(cast("Any", backends.kubernetes)), restorer=cast("Any", None), clock=cast("Any", None),
            servers=cast("Any", self.servers), may_close=self._require,
        )  # fmt: skip
        rooms = RoomSweep(cast("Backends", backends), RoomFinder(b.CLUSTER, serves, self.cache), closing, 60)
        make_work: Any = SweepWork
        work = make_work(self.cleaner, self.lock)
        make_deep: Any = DeepSweep
        self.deep: DeepSweep = make_deep(backends, self.finder, work, 3600)
        make: Any = Sweeper
        self.sweeper: Sweeper = make(
            *(backends, restorer, rooms, self.finder, self.deep, work, 60),
            lambda _namespace, key: self.damaged.append(key),
        )

    async def _settle(self, namespace: str, _pool: Any, _check: Any, at_most: int, _beat: Any) -> Differences:
        self.settled.append(namespace)
        return Differences(min(at_most, self.differences.get(namespace, 0)))

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

    monkeypatch.setattr("controller.backends.leftover_rooms.tombstoned", tombstoned)

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

    monkeypatch.setattr("controller.backends.leftover_rooms.tombstoned", tombstoned)

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
        world.lock.error = BackendUnavailable(Backend.REDIS, "sweeps", "no answer")
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


@pytest.mark.parametrize(
    ("case", "owner", "error"),
    [
        ("a long sweep by hand", "by hand", None),
        ("Redis refuses the lock", "", REFUSED),
    ],
)
def test_users_of_matches_that_are_gone_are_free_and_rooms_are_closed_whoever_has_the_lock(
    case: str, owner: str, error: BackendError | None
) -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.pools = ("calls",)
        world.lock.owner, world.lock.error = owner, error
        await world.run(120)
        assert len(world.settled) >= 2, case
        assert set(world.deleted) == {left_over().name}, case

    run(story)


def test_what_a_light_sweep_did_without_the_lock_is_written_down_later() -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.lock.owner = "by hand"
        sweeping = asyncio.create_task(world.run(200))
        await asyncio.sleep(110)
        assert Notes(world.lock.notes).number("cleaned:rooms") == 0
        world.lock.owner = ""
        await sweeping
        assert Notes(world.lock.notes).number("cleaned:rooms") == len(world.deleted) > 0

    run(story)


@pytest.mark.parametrize(("sweep", "asked"), [("light", "lock"), ("deep", "lock"), ("deep", "scan")])
def test_a_sweep_that_redis_refuses_says_so_once_with_the_missing_right_and_goes_on_when_it_is_granted(
    sweep: str, asked: str
) -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes = {}
        where: Any = world.lock if asked == "lock" else world.finder
        where.error = REFUSED
        failing = metrics.sweep_failing.labels(sweep)
        with capture_logs() as logs:
            sweeping = asyncio.create_task(world.run(1000))
            await asyncio.sleep(600)
            told = [line for line in logs if line["log_level"] == "warning" and line.get("sweep") == sweep]
            assert [line["event"] for line in told] == [
                f"the {sweep} sweep cannot do all of its work: Redis: the user of Redis may not touch a key of sweeps "
                "(NOPERM)"
            ]
            assert _value(failing) == 1
            assert len(world.finder.asked) < 30, "it is not asked for again and again"
            where.error = None
            await sweeping
            assert _value(failing) == 0
        assert [cursor for _, cursor in world.finder.asked][-5:] == ["0", "1", "2", "3", "4"]

    run(story)


def _value(metric: Any) -> float:
    """The value of a gauge or a counter with these labels."""
    return float(metric._value.get())


def test_a_pool_that_uses_the_whole_budget_keeps_no_other_pool_from_its_turn() -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.pools = ("a", "b", "c")
        world.differences = {"a": 1000, "b": 400, "c": 300}
        await world.run(130)
        assert world.settled == ["a", "b", "c", "a"]

    run(story)


def test_the_operator_does_not_sweep_beside_another_sweep_and_goes_on_soon_after_it() -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.lock.notes, world.lock.owner = {}, "by hand"
        sweeping = asyncio.create_task(world.run(1000))
        await asyncio.sleep(200)
        assert world.finder.asked == []
        world.lock.owner = ""
        await asyncio.sleep(60)
        assert len(world.finder.asked) == 5
        await sweeping

    run(story)


@pytest.mark.parametrize(
    ("name", "is_urgent"), [("queue", True), ("reservations", True), ("live", True), ("signals", False)]
)
def test_a_damaged_key_is_recorded_and_users_whom_it_may_have_lost_are_looked_for_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, is_urgent: bool
) -> None:
    keys = Keys(b.CLUSTER, b.NAMESPACE)
    left = [(f"{keys.private if name == 'live' else keys.prefix}{name}",)]

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


@pytest.mark.parametrize("at", ["0", "2", "4"])
def test_an_urgent_deep_sweep_follows_the_one_that_is_under_way(at: str) -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes = {}
        world.finder.scanned = lambda cursor: world.deep.hurry() if cursor == at and len(asked(world)) <= 5 else None
        await world.run(60)
        again = 1 if at != "0" else 0
        assert asked(world)[5 * again :] == ["0", "1", "2", "3", "4"]

    run(story)


def test_the_next_leader_begins_an_urgent_deep_sweep_that_the_last_one_could_not() -> None:
    async def story(_: VirtualTime) -> None:
        first, second = idle_world(), idle_world()
        first.finder.error = BackendUnavailable(Backend.REDIS, "scan", "no answer")
        first.deep.hurry()
        await first.run(30)
        second.lock.notes = first.lock.notes
        await second.run(30)
        assert asked(second) == ["0", "1", "2", "3", "4"]
        await second.run(30)
        assert len(asked(second)) == 5, "once"

    run(story)


@pytest.mark.parametrize("kind", SweepKind)
def test_what_was_found_and_cleaned_is_counted_by_type_in_the_metrics_and_in_the_notes(kind: SweepKind) -> None:
    def counted() -> list[float]:
        counters = (metrics.sweep_found, metrics.sweep_cleaned, metrics.sweep_errors)
        return [_value(counter.labels(kind)) for counter in counters]

    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes = {}
        world.finder.found = {"1": [replace(leftover(name), kind=kind) for name in ("one", "two", "three")]}
        world.cleaner.broken = {"three"}
        before = counted()
        await world.run(100)
        assert [after - then for after, then in zip(counted(), before, strict=True)] == [3, 2, 1]
        notes = Notes(world.lock.notes)
        assert [notes.number(f"{what}:{kind}") for what in ("found", "cleaned", "errors")] == [3, 2, 1]

    run(story)


def test_a_new_leader_knows_when_the_last_sweeps_succeeded() -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes |= {"succeeded:deep": str(b.ms(-500)), "succeeded:light": str(b.ms(-40))}
        world.lock.notes |= {"ended:deep": str(b.ms(-500))}
        await world.run(10)
        assert _value(metrics.sweep_succeeded.labels("deep")) == b.ms(-500) / 1000
        assert _value(metrics.sweep_succeeded.labels("light")) > b.ms(-40) / 1000, "it has swept lightly since"

    run(story)


@pytest.mark.parametrize("owner", ["", "by hand"])
def test_a_sweep_that_has_never_come_to_its_end_counts_from_the_begin_of_the_term(owner: str) -> None:
    async def story(_: VirtualTime) -> None:
        world = idle_world()
        world.lock.notes, world.lock.owner = {}, owner
        world.lock.error = None if owner else BackendUnavailable(Backend.REDIS, "sweeps", "no answer")
        runs = metrics.sweep_runs.labels("light", "ok")
        before, begins_at = _value(runs), b.at(asyncio.get_running_loop().time())
        await world.run(500)
        for sweep in ("light", "deep"):
            assert _value(metrics.sweep_succeeded.labels(sweep)) == begins_at.timestamp(), sweep
        assert _value(runs) == before, "its lists were not looked at"

    run(story)


def asked(world: World) -> list[str]:
    return [cursor for _, cursor in world.finder.asked]


async def _answer(rooms: tuple[LiveKitRoom, ...]) -> tuple[LiveKitRoom, ...]:
    return rooms
