"""The triggers for gateways and older clients, on a real Redis: signals, flags, silence, and pools not yet opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.announce.error_records import ErrorRecords
from controller.api.match import QueuePlace
from controller.backends.bundle import Backends
from controller.clients.redis import inspection
from controller.clients.redis.client import Redis
from controller.clients.redis.error_store import ErrorStore
from controller.clients.redis.gateway import Unserved
from controller.clients.redis.inbox import Flag, Inbox
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.facts.ledger import Destination
from controller.facts.match import AuditFacts
from controller.loop.key import Key
from controller.telemetry import metrics
from controller.triggers import audit, flags, keeper
from controller.triggers.audit import Auditor
from controller.triggers.flags import FlagPoller
from controller.triggers.heartbeats import HeartbeatReader
from controller.triggers.keeper import PoolKeeper
from controller.triggers.router import Router
from controller.triggers.signals import SignalSource
from controller.triggers.stream import StreamReader
from controller.views.audit import AuditView
from controller.views.calls import CallIndex
from controller.views.heartbeats import HeartbeatView
from tests import values as b
from tests.redis.world import World
from tests.support.pulses import a_pulse
from tests.support.waiting import eventually

BACK = (Destination.BACK, QueuePlace.ORIGINAL)


@dataclass
class Pools:
    """The pools of these worlds, all of them open."""

    worlds: list[World]
    gotten: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    opened_again: list[str] = field(default_factory=list)

    async def get(self, namespace: str) -> Pool:
        self.gotten.append(namespace)
        return self.unbound(namespace)

    def unbound(self, namespace: str) -> Pool:
        found = (world.pool for world in self.worlds if world.keys.namespace == namespace)
        return next(found, Pool(self.worlds[0].redis, Keys("test", namespace), 0, 1))

    def opened(self, namespace: str) -> Pool:
        return self.unbound(namespace)

    def kept(self) -> frozenset[str]:
        return frozenset(self.namespaces())

    def forget(self, namespace: str) -> None:
        """It was seen that the data is lost."""
        self.lost.append(namespace)

    def release(self, namespace: str) -> None:
        self.released.append(namespace)

    async def serve(self, namespace: str) -> None:
        self.served.append(namespace)

    def begin(self, namespace: str) -> None:
        self.opened_again.append(namespace)

    def check(self, _namespace: str, _reply: object) -> None:
        """No other replica leads here."""

    def closed(self) -> tuple[str, ...]:
        """The fence of every pool is right."""
        return ()

    def namespaces(self) -> tuple[str, ...]:
        return tuple(world.keys.namespace for world in self.worlds)


class Rig:
    """What triggers are made of, over these worlds."""

    def __init__(self, *worlds: World) -> None:
        self.worlds = worlds
        self.pools = Pools(list(worlds))
        self.woken: list[Key] = []
        self.router = Router("test", lambda key, _wake: self.woken.append(key))
        self.calls = CallIndex()
        self.missing: set[str] = set()
        self.objects: list[tuple[str, str]] = []
        fake = SimpleNamespace(
            cluster_id="test",
            pools=self.pools,
            namespaces=self,
            caches={"Match": self},
            clock=SimpleNamespace(now=lambda: b.at(120)),
            calls=self.calls,
            heartbeats=HeartbeatView(90.0, decide_alone=False),
            audit=AuditView(),
        )
        self.backends = cast("Backends", fake)
        self.errors = ErrorRecords(worlds[0].redis, "test", self.backends.clock, "replica")

    async def exists(self, namespace: str) -> bool:
        """Whether the namespace is in Kubernetes."""
        return namespace not in self.missing

    def names(self) -> list[tuple[str, str]]:
        """The objects in the caches."""
        return self.objects

    def a_call(self, world: World, uid: str, *who: str) -> None:
        """A call that Kubernetes knows of."""
        room = {"name": b.ROOM_NAME, "livekit_name": f"rk-{uid}", "url": b.URL}
        match = b.active(namespace=world.keys.namespace, uid=uid, name=f"name-{uid}", status={"room": room})
        people = tuple(
            person.model_copy(update={"identity": identity})
            for person, identity in zip(match.spec.participants, who, strict=True)
        )
        self.calls.kept(match.model_copy(update={"spec": match.spec.model_copy(update={"participants": people})}))

    async def read_signals(self) -> None:
        """One turn of the reader of streams."""
        source = SignalSource(cast("Any", self.pools), self.router, self.backends.clock, "test", self.errors)
        reader = StreamReader(self.worlds[0].redis, (source,), self.pools.namespaces)
        await reader._follow()
        await reader._read()

    async def read_heartbeats(self, *, times: int = 1) -> HeartbeatReader:
        """Listen for long enough, and then read so many times; return the reader."""
        reader = HeartbeatReader(self.backends, self.router, 5.0)
        for seconds_ago in (120, 80, 40):
            reader._gaps.read(self.worlds[0].keys.namespace, asyncio.get_running_loop().time() - seconds_ago)
        for _ in range(times):
            await reader._read(self.worlds[0].keys.namespace)
        return reader


async def send(world: World, **fields: str) -> str:
    """Add a signal; its id."""
    words = (word for pair in fields.items() for word in pair)
    return cast("str", await world.raw("XADD", world.keys.signals(), "*", *words))


@pytest.fixture
async def other(world: World) -> World:
    """Another pool on the same Redis."""
    return await World.new(world.redis, f"{world.keys.namespace}-other")


# Flags


async def test_a_flag_that_is_read_at_the_end_of_a_call_does_not_end_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice's flag is read; before it is noted her call ends, and the flag with it; and the next call takes her."""
    rig = Rig(world)
    await world.claim("m1", "alice", "bob")
    rig.a_call(world, "m1", "alice", "bob")
    await world.raw("SET", world.keys.pre_skip("alice"), "1")

    async def the_next_call() -> None:
        await world.settle("m1", dict.fromkeys(("alice", "bob"), BACK))
        await world.claim("m2", "alice", "carol")

    read_flags = Inbox.flags

    async def flags_before_the_next_call(inbox: Inbox, user_ids: Sequence[str]) -> tuple[Flag, ...]:
        found = await read_flags(inbox, user_ids)
        await the_next_call()
        return found

    monkeypatch.setattr(Inbox, "flags", flags_before_the_next_call)
    await FlagPoller(rig.backends, rig.router)._tick(a_pulse())
    assert (await world.ledger("m2")).wish is None
    assert rig.woken == []


async def test_a_flag_that_cannot_be_noted_holds_up_none_that_come_after_it(world: World) -> None:
    rig = Rig(world)
    await world.claim("m1", "alice", "bob")
    rig.a_call(world, "m0", "poisoned", "zoe")
    rig.a_call(world, "m1", "alice", "bob")
    for who in ("poisoned", "alice"):
        await world.raw("SET", world.keys.pre_skip(who), "1")
    await world.raw("SET", world.keys.user("poisoned"), "a string")
    poller = FlagPoller(rig.backends, rig.router)
    with capture_logs() as logs:
        for _ in range(3):
            await poller._tick(a_pulse())
    wish = (await world.ledger("m1")).wish
    assert wish is not None
    assert [(entry["user"], entry["log_level"]) for entry in logs if entry["event"] == "a flag cannot be noted"] == [
        ("poisoned", "warning"),
        ("poisoned", "debug"),
        ("poisoned", "debug"),
    ]


@pytest.mark.parametrize("end", ["the flag expires", "the call is over", "the pool is closed"])
async def test_nothing_is_remembered_of_a_refused_flag_that_is_gone(world: World, end: str) -> None:
    rig = Rig(world)
    rig.a_call(world, "m0", "poisoned", "zoe")
    await world.raw("SET", world.keys.pre_skip("poisoned"), "1")
    await world.raw("SET", world.keys.user("poisoned"), "a string")
    poller = FlagPoller(rig.backends, rig.router)
    await poller._tick(a_pulse())
    assert len(poller._refused) == 1
    if end == "the flag expires":
        await world.raw("DEL", world.keys.pre_skip("poisoned"))
    elif end == "the call is over":
        rig.calls.gone(b.active(namespace=world.keys.namespace, uid="m0"))
    else:
        rig.pools.worlds.clear()
    await poller._tick(a_pulse())
    assert poller._refused == set()


# Signals


async def test_a_signal_about_a_key_that_is_not_ours_holds_up_no_other(world: World, other: World) -> None:
    rig = Rig(world, other)
    await world.raw("SET", world.keys.user("poisoned"), "a string")
    for pool in (world, other):
        await pool.claim("m1", "alice", "bob")
        await send(pool, type="skip", user="poisoned")
        last = await send(pool, type="skip", user="alice", match="m1")
    with capture_logs() as logs:
        await rig.read_signals()
    for pool in (world, other):
        assert (await pool.ledger("m1")).wish is not None
    assert await Inbox(other.pool).signals_done() == last
    assert {entry["log_level"] for entry in logs if "is skipped" in entry["event"]} == {"warning"}
    assert await Inbox(world.pool).signals_done() != "0-0"


async def test_a_user_who_floods_the_signals_delays_no_other(world: World) -> None:
    rig = Rig(world)
    await world.claim("m1", "alice", "bob")
    await world.claim("m2", "mallory", "zoe")
    for _ in range(1500):
        await send(world, type="token", user="mallory")
    skip = await send(world, type="skip", user="alice", match="m1")
    for _ in range(1500):
        await send(world, type="token", user="mallory")
    repeated = metrics.signals.labels("token", "signal", "repeated")._value
    before = repeated.get()
    for _ in range(4):
        await rig.read_signals()
    assert (await world.ledger("m1")).wish is not None, f"{skip} is in the second thousand"
    assert repeated.get() - before >= 2990, "each read notes one signal of a flood"


async def test_a_signal_that_is_refused_is_recorded_with_the_browser_that_the_gateway_named(world: World) -> None:
    rig = Rig(world)
    await world.enqueue("alice")
    await send(world, type="skip", user="alice", userAgent="Firefox/141")
    await rig.read_signals()
    await rig.errors.flush()
    (record,) = await ErrorStore(world.redis, world.keys.error_keys).records()
    assert (record.key.code, record.key.object) == ("SignalRefused", "user/alice")
    assert (record.context["user"], record.context["userAgent"]) == ("alice", "Firefox/141")
    notices = await world.raw("XRANGE", world.keys.notify("alice"), "-", "+")
    assert "You are not in a call." in str(notices), "the user's client learns it too"


async def test_every_user_has_a_turn_with_their_flags(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "_CALLS_PER_TICK", 2)
    rig = Rig(world)
    for number in range(6):
        await world.claim(f"m{number}", f"a{number}", f"b{number}")
        rig.a_call(world, f"m{number}", f"a{number}", f"b{number}")
        await world.raw("SET", world.keys.pre_skip(f"b{number}"), "1")
    poller = FlagPoller(rig.backends, rig.router)
    for _ in range(3):
        await poller._tick(a_pulse())
    assert all([(await world.ledger(f"m{number}")).wish for number in range(6)])


async def test_a_stream_that_is_none_holds_up_no_other(world: World, other: World) -> None:
    rig = Rig(world, other)
    await world.raw("SET", world.keys.signals(), "a string")
    await other.claim("m1", "alice", "bob")
    await send(other, type="skip", user="alice", match="m1")
    with capture_logs() as logs:
        await rig.read_signals()
    assert (await other.ledger("m1")).wish is not None
    assert [entry["stream"] for entry in logs if entry["log_level"] == "warning"] == [world.keys.signals()]


# Heartbeats


async def last_beats(world: World, **seconds_ago: float) -> None:
    seconds, _ = await world.raw("TIME")
    rows = [(int(seconds) * 1000 - round(ago * 1000), who) for who, ago in seconds_ago.items()]
    for start in range(0, len(rows), 1000):
        await world.raw("ZADD", world.keys.heartbeats(), *(word for row in rows[start : start + 1000] for word in row))


async def test_when_many_thousands_fall_silent_at_once_no_user_leaves_the_queue(world: World) -> None:
    rig = Rig(world)
    there = {f"there-{n}": 1.0 for n in range(4000)}
    gone = {f"gone-{n}": 95 + n / 100 for n in range(1500)}
    await last_beats(world, **there, **gone)
    await world.enqueue("gone-1400")
    await rig.read_heartbeats(times=3)
    assert list(await world.queue()) == ["gone-1400"]
    assert rig.backends.heartbeats.silent(world.keys.namespace) == {}


async def test_a_thousand_silent_users_in_calls_do_not_hide_one_who_waits(world: World) -> None:
    rig = Rig(world)
    talking = [f"talking-{n}" for n in range(1200)]
    for number in range(0, len(talking), 2):
        rig.a_call(world, f"m{number}", *talking[number : number + 2])
    there = {f"there-{n}": 1.0 for n in range(6000)}
    await last_beats(world, **there, **{who: 7000 + n for n, who in enumerate(talking)})
    await world.enqueue("alice")
    await last_beats(world, alice=100)
    await rig.read_heartbeats(times=3)
    assert await world.queue() == {}
    assert (await world.user("alice")).reason == "Silent"


async def test_a_silent_user_who_cannot_leave_the_queue_keeps_no_other_in_it(world: World) -> None:
    rig = Rig(world)
    for who in ("alice", "bob"):
        await world.enqueue(who)
    await last_beats(world, alice=100, bob=100)
    await world.raw("SET", world.keys.user("alice"), "a string")
    with capture_logs() as logs:
        await rig.read_heartbeats(times=3)
    assert list(await world.queue()) == ["alice"]
    assert [entry["identity"] for entry in logs if entry["log_level"] == "warning"] == ["alice"]


async def test_nothing_is_remembered_of_a_user_who_is_no_longer_silent(world: World) -> None:
    rig = Rig(world)
    await world.enqueue("alice")
    await last_beats(world, alice=100)
    await world.raw("SET", world.keys.user("alice"), "a string")
    reader = await rig.read_heartbeats(times=2)
    assert reader._refused == {(world.keys.namespace, "alice")}
    await last_beats(world, alice=0)
    await reader._read(world.keys.namespace)
    assert reader._refused == set()


# Audit


async def test_records_that_others_changed_are_found_and_count_when_two_rounds_agree(
    world: World, other: World
) -> None:
    rig = Rig(world, other)
    auditor = Auditor(rig.backends, rig.router, 2.0)
    for pool, uid in ((world, "m1"), (other, "m2")):
        await pool.claim(uid, f"alice-{uid}", f"bob-{uid}")
        rig.a_call(pool, uid, f"alice-{uid}", f"bob-{uid}")
    await world.raw("HSET", world.keys.user("alice-m1"), "match", "of-another-service")
    await world.raw("DEL", world.keys.user("bob-m1"))
    await world.raw("SET", world.keys.room_deleted("rk-m1"), "1")
    await other.raw("DEL", other.keys.user("alice-m2"))
    await other.raw("SET", other.keys.user("alice-m2"), "no record")
    await auditor.audit(a_pulse())
    assert rig.woken == []
    await auditor.audit(a_pulse())
    assert {str(key) for key in rig.woken} == {
        f"match/{world.keys.namespace}/name-m1",
        f"match/{other.keys.namespace}/name-m2",
    }
    view = rig.backends.audit
    assert view.facts("m1") == AuditFacts(frozenset({"alice-m1"}), frozenset({"bob-m1"}), room_has_tombstone=True)
    assert view.facts("m2") == AuditFacts(unrecorded=frozenset({"alice-m2"}))


async def test_a_round_makes_a_bounded_number_of_reads_whatever_the_number_of_pools_and_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_CALLS_PER_ROUND", 10)
    worlds = [await World.new(world.redis, f"{world.keys.namespace}-{number}") for number in range(8)]
    rig = Rig(*worlds)
    for number, of in enumerate(worlds):
        for call in range(4):
            rig.a_call(of, f"m{number}-{call}", f"a{number}-{call}", f"b{number}-{call}")
    auditor = Auditor(rig.backends, rig.router, 2.0)
    read: list[str] = []
    monkeypatch.setattr(audit, "holders", recording(inspection.holders, read))
    for _ in range(4):
        before = len(read)
        await auditor.audit(a_pulse())
        assert len(read) - before <= 20, "two users of ten calls"
    assert len(set(read)) == 64, "every call had its turn"


def recording(read: Any, users: list[str]) -> Any:
    """The same read, which notes the users that it asks for."""

    async def noted(redis: Any, keys: Keys, user_ids: Sequence[str]) -> Any:
        users.extend(user_ids)
        return await read(redis, keys, user_ids)

    return noted


async def test_each_pool_that_lost_its_data_is_opened_again_and_no_other(world: World, other: World) -> None:
    rig = Rig(world, other)
    auditor = Auditor(rig.backends, rig.router, 2.0)
    await auditor.find_losses()
    assert rig.pools.lost == []
    await other.raw("DEL", other.keys.incarnation())
    auditing = asyncio.create_task(auditor.run(a_pulse()))

    async def is_opened_again() -> None:
        assert rig.pools.lost == rig.pools.opened_again == [other.keys.namespace]

    await eventually(is_opened_again)
    auditing.cancel()
    await asyncio.gather(auditing, return_exceptions=True)


# Pools that nothing needs


def idle(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Rig, PoolKeeper]:
    """A pool of an operator of the whole cluster, in which ten minutes pass at once."""
    monkeypatch.setattr(keeper, "_IDLE_SECONDS", 0)
    rig = Rig(world)
    return rig, PoolKeeper(rig.backends, 2.0)


async def test_a_pool_without_an_object_and_a_user_is_closed_and_asks_to_be_opened_at_the_next_user(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, pools = idle(world, monkeypatch)
    await pools.close_idle(a_pulse())
    assert rig.pools.released == [world.keys.namespace]
    assert await world.gateway.enqueue("alice") == Unserved()


async def test_a_pool_with_a_waiting_user_or_an_object_stays_open(
    world: World, other: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, pools = idle(world, monkeypatch)
    rig.pools.worlds.append(other)
    await world.enqueue("alice")
    rig.objects.append((other.keys.namespace, "a match"))
    await pools.close_idle(a_pulse())
    assert rig.pools.released == []


async def test_a_pool_whose_namespace_is_gone_is_closed_although_users_wait_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, pools = idle(world, monkeypatch)
    await world.enqueue("alice")
    rig.missing.add(world.keys.namespace)
    await pools.close_idle(a_pulse())
    assert rig.pools.released == [world.keys.namespace]


async def test_a_user_who_comes_while_the_pool_is_being_closed_keeps_it_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, pools = idle(world, monkeypatch)
    delete = Redis.delete

    async def after_a_user_came(redis: Redis, key: str) -> None:
        await world.enqueue("alice")
        await delete(redis, key)

    monkeypatch.setattr(Redis, "delete", after_a_user_came)
    await pools.close_idle(a_pulse())
    assert (rig.pools.released, rig.pools.served) == ([], [world.keys.namespace])


# Pools in which people only wait


async def test_pools_in_which_people_only_wait_are_found_and_opened(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(keeper, "_KEYS_AT_ONCE", 10)
    monkeypatch.setattr(keeper, "_PAUSE_SECONDS", 0)
    rig = Rig(world)
    name = world.keys.namespace
    waiting, beating, empty = [await World.new(world.redis, f"{name}-{what}") for what in ("waits", "beats", "empty")]
    await waiting.enqueue("alice")
    await last_beats(beating, alice=1)
    await empty.raw("SET", empty.keys.user("queue"), "no queue")
    # Their namespaces are gone: only Matches that hold users are a reason to open its pool.
    held, gone = [await World.new(world.redis, f"{name}-{what}") for what in ("held", "gone")]
    rig.missing.update((held.keys.namespace, gone.keys.namespace))
    await held.claim("u-gone", "alice", "bob")
    await gone.enqueue("alice")
    foreign = World(world.redis, keys := Keys("another", f"{name}-foreign"), world.pool, world.gateway)
    await foreign.raw("ZADD", keys.queue(), 1, "alice")
    await world.raw("ZADD", f"rk:{{test:{name}-odd}}:x}}:queue", 1, "alice")
    await world.raw("ZADD", f"rk:{{test:{name}-long}}:queue-of-another-service", 1, "alice")
    await PoolKeeper(rig.backends, 2.0).search(a_pulse())
    found = {opened for opened in rig.pools.gotten if opened.startswith(name)}
    assert found == {f"{name}-waits", f"{name}-beats", f"{name}-held"}
