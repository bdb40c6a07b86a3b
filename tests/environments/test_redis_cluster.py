"""A Redis Cluster: every pool works wherever its slot is, also while the slot moves and after its master died."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from redis.asyncio.cluster import ClusterNode, RedisCluster

import contract
from controller.clients.redis.client import Redis, StreamEntry
from controller.clients.redis.epochs import Epochs, EpochStore
from controller.clients.redis.inbox import pools_with_people
from controller.clients.redis.inspection import with_losses
from controller.clients.redis.keys import Keys, unserved_channel
from controller.clients.redis.replies.match import ClaimOk
from controller.clients.redis.slots import slot_of
from controller.clients.redis.sweeps import Notes, SweepStore
from controller.errors import BackendUnavailable
from controller.triggers.stream import StreamReader
from examples.matchmaker.pool import Pool
from sandbox.redis_cluster import Cluster
from sandbox.redis_nodes import HOST, Node, running, until
from tests.environments.pools import Load, live_once, repeated
from tests.examples.support import goes_round
from tests.redis.doors import FunctionsRedis
from tests.redis.servers import programs
from tests.redis.sweeping import Sweeping
from tests.redis.world import World
from tests.support.pulses import a_pulse
from tests.support.real_programs import MARKER
from tests.support.waiting import eventually

pytestmark = [getattr(pytest.mark, MARKER), pytest.mark.xdist_group("redis-cluster")]

_numbers = itertools.count()


async def a_world(redis: Redis) -> World:
    """A pool of its own."""
    return await World.new(redis, f"pool-{next(_numbers)}")


async def worlds_everywhere(redis: Redis, cluster: Cluster) -> dict[Node, World]:
    """A pool on each master."""
    found: dict[Node, World] = {}
    while len(found) < 3:
        world = await a_world(redis)
        found.setdefault(await asyncio.to_thread(cluster.owner, world.keys.queue()), world)
    return found


@pytest.mark.parametrize("is_named", [True, False], ids=["redis+cluster://", "redis://"])
async def test_a_match_lives_its_whole_life_on_every_node(cluster: Cluster, is_named: bool) -> None:
    """Also with the URL of one server: it says itself that it is a node of a cluster."""
    redis = Redis.from_url(cluster.url if is_named else f"redis://{cluster.nodes[-1].address}/0")
    for world in (await worlds_everywhere(redis, cluster)).values():
        await live_once(world)
    await redis.close()


async def test_what_concerns_all_pools_concerns_every_node(cluster: Cluster, of_cluster: Redis) -> None:
    worlds = (await worlds_everywhere(of_cluster, cluster)).values()
    for world in worlds:
        await world.enqueue("alice")
    # The search for pools in which users wait
    found: set[str] = set()
    cursor = "0"
    while True:
        cursor, some = await pools_with_people(of_cluster, "test", cursor, count=10)
        found.update(some)
        if cursor == "0":
            break
    assert {world.keys.namespace for world in worlds} <= found
    # The audit for lost data
    pools = [world.pool for world in worlds]
    assert await with_losses(of_cluster, pools) == ()
    lost = next(iter(worlds))
    await lost.lose_everything()
    assert await with_losses(of_cluster, pools) == (lost.pool,)
    # The highest epoch
    first, second = (EpochStore(of_cluster, "test", lease) for lease in ("ns/first", "ns/second"))
    assert (await first.note(7), await second.note(1)) == (Epochs(7, 7), Epochs(1, 7))


async def test_gateways_on_every_node_are_heard_when_they_ask_for_a_pool(cluster: Cluster, of_cluster: Redis) -> None:
    heard: set[str] = set()
    channel = unserved_channel("test")
    listening = asyncio.create_task(of_cluster.listen(channel, heard.add, alive=lambda: None))
    worlds = (await worlds_everywhere(of_cluster, cluster)).values()

    async def all_are_heard() -> None:
        for world in worlds:
            await world.raw("DEL", world.keys.served())
            await world.gateway.enqueue("alice")
        assert heard == {world.keys.namespace for world in worlds}

    await eventually(all_are_heard)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_the_function_library_works_on_every_node(cluster: Cluster) -> None:
    functions = FunctionsRedis.from_url(cluster.url)
    await functions.load()
    for world in (await worlds_everywhere(functions, cluster)).values():
        await live_once(world)
    await functions.close()


async def test_a_gateway_with_another_client_for_clusters_can_do_all_it_does(cluster: Cluster) -> None:
    """redis-py's client for clusters: functions, scripts by their digest, signals and notices."""
    ours = FunctionsRedis.from_url(cluster.url)
    await ours.load()
    client: Any = RedisCluster(startup_nodes=[ClusterNode(HOST, cluster.nodes[1].port)], decode_responses=True)
    for world in (await worlds_everywhere(ours, cluster)).values():
        prefix = world.keys.prefix
        assert (await client.fcall("roomkeeper_enqueue", 1, prefix, "alice", ""))[:2] == ["OK", "new"]
        beat = client.register_script(contract.script("beat"))
        names = [world.keys.user("alice"), world.keys.heartbeats(), world.keys.notify("alice")]
        assert (await beat(keys=names, args=["alice", "", "KEEP"]))[:2] == ["OK", "WAITING"]
        assert await client.xadd(world.keys.signals(), {"type": "skip", "user": "alice"})
        assert await client.xread({world.keys.notify("alice"): "0", world.keys.events(): "0"})
        assert (await client.fcall("roomkeeper_leave", 1, prefix, "alice", "", 3_600_000))[:2] == ["OK", "new"]
    await client.aclose()
    await ours.close()


# A slot moves


def another(cluster: Cluster, source: Node) -> Node:
    """A master that is not this one."""
    return next(node for node in cluster.nodes if node is not source and node.is_master)


async def test_a_slot_that_has_moved_is_followed(cluster: Cluster, of_cluster: Redis) -> None:
    world = await a_world(of_cluster)
    key = world.keys.queue()
    await world.enqueue("alice")
    target = another(cluster, cluster.owner(key))
    cluster.begin_move(key, target)
    cluster.move_keys(key, target)
    cluster.end_move(key, target)
    assert (await world.user("alice")).state == "WAITING"
    assert isinstance(await world.claim("m1", "alice", "bob"), ClaimOk)
    assert cluster.owner(key) is target


async def test_while_a_slot_moves_keys_are_found_on_both_nodes_and_nothing_is_done_by_halves(
    cluster: Cluster, of_cluster: Redis
) -> None:
    world = await a_world(of_cluster)
    key = world.keys.queue()
    users = [f"user-{n}" for n in range(20)]
    for user in users:
        await world.enqueue(user)
    target = another(cluster, cluster.owner(key))
    cluster.begin_move(key, target)
    assert cluster.move_keys(key, target, at_most=20) == 20
    # Commands about one key follow it.
    assert [(await world.user(user)).state for user in users] == ["WAITING"] * 20
    # A script about keys on both nodes waits, and writes nothing.
    with pytest.raises(BackendUnavailable, match="TRYAGAIN"):
        await world.claim("m1", *users[:2])
    assert [(await world.user(user)).match for user in users[:2]] == ["", ""]
    cluster.move_keys(key, target)
    cluster.end_move(key, target)
    assert isinstance(await world.claim("m1", *users[:2]), ClaimOk)
    assert set(await world.queue()) == set(users[2:])


async def test_no_command_is_lost_or_doubled_while_slots_move_under_load(cluster: Cluster, of_cluster: Redis) -> None:
    world = await a_world(of_cluster)
    key = world.keys.queue()
    async with Load(world, "one") as one, Load(world, "two") as two:
        for _ in range(3):
            target = another(cluster, await asyncio.to_thread(cluster.owner, key))
            await one.more(5)
            await asyncio.to_thread(cluster.begin_move, key, target)
            await asyncio.to_thread(cluster.move_keys, key, target)
            await asyncio.to_thread(cluster.end_move, key, target)
        await one.more(5)
        await two.more(5)
    ended = [event["subject"] for event in await world.events() if event["type"] == "dev.roomkeeper.match.ended"]
    assert len(ended) == len(set(ended)), "a Match was ended twice"
    assert len(ended) >= one.done + two.done


@pytest.fixture
def of_valkey() -> Iterator[Cluster]:
    """A cluster of the wheel's Valkey, whatever server the stack has: only Valkey 9 moves a slot at once."""
    with running(partial(Cluster, replicas=0, program=programs()["valkey"])) as nodes:
        yield nodes


async def test_a_slot_that_moves_at_once_is_followed_under_load(of_valkey: Cluster) -> None:
    """Valkey 9 moves a slot with all of its keys: no request finds a part of them."""
    cluster = of_valkey
    redis = Redis.from_url(cluster.url)
    world = await a_world(redis)
    key = world.keys.queue()
    async with Load(world, "pair") as load:
        for _ in range(2):
            await load.more(5)
            source = await asyncio.to_thread(cluster.owner, key)
            target = another(cluster, source)
            source("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot_of(key), slot_of(key), "NODE", cluster.id_of(target))
            await asyncio.to_thread(until, lambda: cluster.owner(key) is target)  # noqa: B023 (awaited at once)
        await load.more(5)
    await redis.close()


async def test_a_function_that_finds_the_pool_on_its_way_does_nothing(cluster: Cluster) -> None:
    """Its only key is the prefix, so nothing but the function itself can tell that keys of the pool are elsewhere."""
    functions = FunctionsRedis.from_url(cluster.url)
    await functions.load()
    world = await a_world(functions)
    key = world.keys.queue()
    before = await world.enqueue("alice")
    target = another(cluster, cluster.owner(key))
    cluster.begin_move(key, target)
    cluster.move_keys(key, target, at_most=2)
    for user in ("alice", "bob"):
        with pytest.raises(BackendUnavailable, match="TRYAGAIN"):
            await world.gateway.enqueue(user)
    cluster.move_keys(key, target)
    cluster.end_move(key, target)
    assert await repeated(lambda: world.enqueue("alice")) == before
    assert set(await world.queue()) == {"alice"}
    await functions.close()


# A master dies


async def test_a_killed_master_costs_its_own_pools_a_moment_and_the_others_nothing(
    cluster: Cluster, of_cluster: Redis
) -> None:
    worlds = await worlds_everywhere(of_cluster, cluster)
    (victim, world), (_, other), *_ = worlds.items()
    successor = cluster.replica_of(victim)
    async with Load(world, "there") as there, Load(other, "elsewhere") as elsewhere:
        await there.more(10)
        await elsewhere.more(10)
        await asyncio.to_thread(world_wait, victim)
        await asyncio.to_thread(victim.stop)

        async def is_silent() -> None:
            assert of_cluster.silent_seconds(world.keys.live()) is not None
            assert of_cluster.silent_seconds(other.keys.live()) is None

        await eventually(is_silent)
        await elsewhere.more(50)
        await there.more(10)
        assert successor.is_master
        assert there.gaps, "the pool was not there for a moment"
        assert not elsewhere.gaps
        assert of_cluster.silent_seconds(world.keys.live()) is None
    await asyncio.to_thread(victim.start)
    await asyncio.to_thread(cluster.await_health)


def world_wait(master: Node) -> None:
    """Wait until the replica has what was written."""
    master("WAIT", 1, 1000)


async def test_the_streams_of_a_hundred_pools_on_one_node_are_all_read(cluster: Cluster, of_cluster: Redis) -> None:
    await of_cluster.ping()
    node = cluster.owner("any")
    names = (f"many-{n}" for n in itertools.count())
    mine = list(itertools.islice((name for name in names if cluster.owner(Keys("test", name).signals()) is node), 100))
    taken: set[str] = set()
    reader = StreamReader(of_cluster, (Kept(taken),), lambda: tuple(mine))
    reading = asyncio.create_task(reader.run(a_pulse()))

    async def all_are_read() -> None:
        for name in mine:
            await of_cluster.append(Keys("test", name).signals(), {"type": "skip"}, max_entries=10)
        assert taken == set(mine)

    await eventually(all_are_read)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@dataclass
class Kept:
    """The streams `signals`; keeps the namespaces from whose stream an entry came."""

    taken: set[str]

    def stream(self, namespace: str) -> str:
        return Keys("test", namespace).signals()

    async def start(self, namespace: str) -> str:
        return "0-0"

    def lanes(self, entries: Sequence[StreamEntry]) -> Sequence[Sequence[StreamEntry]]:
        return (entries,)

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        self.taken.add(namespace)

    async def done(self, namespace: str, entry_id: str) -> str:
        return entry_id


def test_the_example_matchmaker_finds_its_pool_on_every_node_and_follows_it_to_another(cluster: Cluster) -> None:
    names: dict[Node, str] = {}
    while len(names) < 3:
        name = f"example-{next(_numbers)}"
        names.setdefault(cluster.owner(f"rk:{{example:{name}}}:queue"), name)
    for name in names.values():
        with closing(Pool(cluster.url, cluster_id="example", namespace=name)) as pool:
            goes_round(pool)
    first, target, _ = names
    with closing(Pool(cluster.url, cluster_id="example", namespace=names[first])) as pool:
        goes_round(pool)
        queue = f"{pool.prefix}queue"
        cluster.begin_move(queue, target)
        cluster.move_keys(queue, target)
        cluster.end_move(queue, target)
        goes_round(pool)


async def test_leftovers_are_found_and_cleaned_on_every_node(cluster: Cluster, of_cluster: Redis) -> None:
    worlds = (await worlds_everywhere(of_cluster, cluster)).values()
    server: Any = None  # only what looks idle needs it
    sweeps = [Sweeping(world, server, batch=10) for world in worlds]
    for sweep in sweeps:
        world = sweep.world
        await world.enqueue("alice")
        await sweep.hash(world.keys.user("alice"), state="IN_CALL", match="u-gone", since=1)
        await world.raw("XADD", world.keys.notify("bob"), "1-0", "type", "ended")
        assert {one.id for one in await sweep.sweep()} == {"alice", "bob"}
        assert await sweep.find() == []
        assert await world.queue() == {"alice": (await world.user("alice")).queued_at_ms}
    store = SweepStore(of_cluster, "test", "system/lease")
    assert isinstance(await store.keep("by hand", ttl_seconds=30), Notes)
    assert isinstance(await store.give_back("by hand"), Notes)
