"""How many users of a pool wait, are reserved or are in a Match, on real servers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import REGISTRY

from controller.backends.pools import Pools
from controller.clients.redis.people import People, people
from controller.telemetry.pulse import LoopName, Pulse
from controller.triggers.people import PeopleCounter
from tests.redis.world import World

WAITED_SECONDS = 40.0


async def test_users_are_counted_where_they_are_and_the_first_place_is_told(world: World) -> None:
    assert await people(world.redis, world.keys) == People(0, 0, 0, None)
    for who in ("alice", "bob", "carol"):
        await world.gateway.enqueue(who)
    await world.gateway.reserve("match-1", ("bob",), ttl_seconds=60)
    found = await people(world.redis, world.keys)
    assert (found.waiting, found.reserved, found.matches) == (2, 1, 0)
    (_, place), *_ = await world.gateway.waiting(limit=1)
    assert found.first_ms == place


async def test_the_metrics_sum_up_all_pools_and_are_zero_once_the_replica_no_longer_leads(world: World) -> None:
    await world.gateway.enqueue("alice")
    found = await people(world.redis, world.keys)
    assert found.first_ms is not None
    moment = found.first_ms / 1000 + WAITED_SECONDS
    pool = SimpleNamespace(redis=world.redis, keys=world.keys)
    pools = SimpleNamespace(namespaces=lambda: ("calls",), unbound=lambda _: pool)
    now: Any = SimpleNamespace(timestamp=lambda: moment)
    counter = PeopleCounter(cast("Pools", pools), lambda: now)
    await counter.count(Pulse(LoopName.PEOPLE, 60))
    assert REGISTRY.get_sample_value("roomkeeper_people", {"state": "waiting"}) == 1
    age_seconds = REGISTRY.get_sample_value("roomkeeper_oldest_waiter_seconds")
    assert age_seconds is not None
    assert abs(age_seconds - WAITED_SECONDS) < 0.01
    counter.end()
    assert REGISTRY.get_sample_value("roomkeeper_people", {"state": "waiting"}) == 0
    assert REGISTRY.get_sample_value("roomkeeper_oldest_waiter_seconds") == 0


async def test_a_place_that_is_no_time_says_nothing_of_how_long_a_user_has_waited(world: World) -> None:
    """A gateway of another version wrote it: an age of infinity would keep an alert on for ever."""
    await world.raw("ZADD", world.keys.queue(), "-inf", "first", -1, "before-time", "+inf", "last")
    assert await people(world.redis, world.keys) == People(3, 0, 0, None)
    await world.gateway.enqueue("alice")
    place = float(await world.raw("ZSCORE", world.keys.queue(), "alice"))
    assert (await people(world.redis, world.keys)).first_ms == place
