"""Ticks of the example matchmaker on a real Valkey, with a cluster that fails when a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest
import redis as redis_py
from kubernetes.client import ApiException, CustomObjectsApi

from examples.matchmaker.matches import Matches
from examples.matchmaker.matchmaker import Limits, Matchmaker
from examples.matchmaker.outcomes import Outcomes
from examples.matchmaker.pairing import match_name
from examples.matchmaker.pool import Pool
from tests.examples.support import Cluster, crowd, enqueue, meet
from tests.redis.servers import running
from tests.support.waiting import eventually

AT_ONCE = Limits(heal_after_seconds=0)
AWAY = ApiException(status=503, reason="Service Unavailable")
INVALID = ApiException(status=422, reason="Unprocessable Entity")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def make(cluster: Cluster, pools: Callable[[], Pool]) -> Callable[..., Matchmaker]:
    """A factory of matchmakers of one pool and one cluster."""

    def made(limits: Limits | None = None, pool: Pool | None = None) -> Matchmaker:
        matches = Matches(cast("CustomObjectsApi", cluster), "calls", tokens="Redis")
        outcomes = Outcomes(matches)
        outcomes.read()
        return Matchmaker(pool or pools(), matches, outcomes, limits or Limits())

    return made


def waiting(pool: Pool) -> list[str]:
    return [person.id for person in pool.front(1000).waiting]


def reserved(raw: redis_py.Redis, pool: Pool) -> set[str]:
    return set(cast("list[str]", raw.zrange(f"{pool.prefix}reserved", 0, -1)))


def test_all_users_get_a_match_and_the_odd_one_waits(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    crowd(raw, pool, ["alice", "bob", "carol", "dave", "erin"])
    tick = make().tick()
    assert (tick.made, tick.failed) == (2, 0)
    assert cluster.pairs() == {frozenset({"alice", "bob"}), frozenset({"carol", "dave"})}
    match = cluster.matches[match_name([("alice", 1000), ("bob", 1001)])]
    assert match["spec"]["admission"] == "Queued"
    assert match["spec"]["tokens"] == {"delivery": "Redis"}
    assert waiting(pool) == ["erin"]


def test_users_who_just_met_get_other_partners(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    enqueue(pool, "alice", "bob")
    meet(raw, pool, "alice", "bob")
    enqueue(pool, "carol", "dave")
    make().tick()
    assert frozenset({"alice", "bob"}) not in cluster.pairs()
    assert len(cluster.matches) == 2


@pytest.mark.parametrize("count", [100, 10_000])
def test_the_work_of_a_tick_does_not_grow_with_the_queue(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis, count: int
) -> None:
    crowd(raw, pool, [f"{number:05}" for number in range(count)])
    matchmaker = make(Limits(pairs=40))
    raw.config_resetstat()
    tick = matchmaker.tick()
    info = cast("dict[str, int]", raw.info("stats"))
    assert (tick.made, tick.is_full) == (40, True)
    assert cluster.calls == 40
    # Two commands per user that was read, some per pair (those inside scripts included), and a few for the tick.
    assert info["total_commands_processed"] < 2 * 100 + 40 * 25 + 40
    assert info["total_net_output_bytes"] < 20_000
    assert len(waiting(pool)) == min(count - 80, 1000)


def test_users_stay_in_the_queue_while_no_match_can_be_made(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    ids = [f"{number:03}" for number in range(100)]
    crowd(raw, pool, ids)
    matchmaker = make(Limits(pairs=10))
    cluster.trouble = AWAY
    assert matchmaker.tick().failed == 10
    assert cluster.calls <= 8, "it went on asking after the first refusal"
    for _ in range(3):
        assert matchmaker.tick().failed == 10
    assert reserved(raw, pool) == set(ids[:20])

    # Once it is back, reserved users come first, no matter which matchmaker reserved them.
    cluster.trouble = None
    tick = matchmaker.tick()
    assert (tick.healed, tick.made) == (10, 10)
    assert set().union(*cluster.pairs()) == set(ids[:40])


def test_a_match_that_another_matchmaker_left_unfinished_is_created_under_the_same_name(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    crowd(raw, pool, ["alice", "bob"])
    first, patient, second = make(), make(), make(AT_ONCE)
    cluster.trouble = AWAY
    first.tick()
    cluster.trouble = None
    assert patient.tick().healed == 0, "the other matchmaker may still create it"
    assert second.tick().healed == 1
    assert list(cluster.matches) == [match_name([("alice", 1000), ("bob", 1001)])]

    # A matchmaker that comes later finds the Match, and asks just once.
    calls = cluster.calls
    third = make(AT_ONCE)
    assert [third.tick().healed for _ in range(3)] == [0, 0, 0]
    assert cluster.calls == calls + 1
    assert second.tick().healed == 0


def test_reservations_of_others_are_left_alone(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    enqueue(pool, "alice", "bob")
    cluster.trouble = AWAY
    make().tick()
    cluster.trouble = None
    crowd(raw, pool, ["carol", "dave"])
    keys = [f"{pool.prefix}{name}" for name in ("queue", "reserved", "reservations", "blocked:carol", "blocked:dave")]
    pool._scripts["reserve"](keys=keys, args=["match-7f3a", 30_000, "carol", "dave"])
    assert pool.leave("alice") == ["OK", "new"]
    assert reserved(raw, pool) == {"bob", "carol", "dave"}
    assert make(AT_ONCE).tick().healed == 0, "bob is alone, and the others are not ours"
    assert cluster.matches == {}


def test_two_whose_match_failed_get_another_name_in_their_old_places(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    users = [("alice", 1000), ("bob", 1001)]
    crowd(raw, pool, ["alice", "bob"])
    make().tick()
    cluster.end(match_name(users))
    # As the operator does: both users are back where they were, and the Match stays so that people can read it.
    raw.delete(f"{pool.prefix}reserved", f"{pool.prefix}reservations")
    crowd(raw, pool, ["alice", "bob"])
    assert make().tick().made == 1
    assert list(cluster.matches) == [match_name(users), match_name(users, attempt=1)]


async def test_a_name_that_turns_out_to_be_used_up_costs_one_deadline(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    users = [("alice", 1000), ("bob", 1001)]
    crowd(raw, pool, ["alice", "bob"])
    matchmaker = make(Limits(reserve_seconds=0.2, heal_after_seconds=0))
    make().tick()  # ours does not know about it
    cluster.end(match_name(users))
    raw.delete(f"{pool.prefix}reserved", f"{pool.prefix}reservations")
    crowd(raw, pool, ["alice", "bob"])
    assert matchmaker.tick().made == 0

    async def is_made() -> None:
        assert matchmaker.tick().made == 1

    await eventually(is_made)
    assert list(cluster.matches) == [match_name(users), match_name(users, attempt=1)]


def test_a_match_that_is_refused_for_good_stops_no_other_match(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    crowd(raw, pool, ["alice", "bob"])
    matchmaker = make(AT_ONCE)
    cluster.trouble = INVALID
    assert matchmaker.tick().failed == 0
    cluster.trouble = None
    crowd(raw, pool, ["carol", "dave"])
    assert matchmaker.tick().made == 1
    assert cluster.pairs() == {frozenset({"carol", "dave"})}


async def test_many_matchmakers_at_once_pair_every_user_exactly_once(
    make: Callable[..., Matchmaker], cluster: Cluster, pool: Pool, raw: redis_py.Redis
) -> None:
    ids = [f"{number:03}" for number in range(200)]
    crowd(raw, pool, ids)
    matchmakers = [make(Limits(pairs=7)) for _ in range(4)]
    stop = threading.Event()
    threads = [threading.Thread(target=one.run, args=(stop, 0.01)) for one in matchmakers]
    for thread in threads:
        thread.start()

    async def no_user_waits() -> None:
        assert waiting(pool) == []

    try:
        await eventually(no_user_waits)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(cluster.matches) == 100
    assert set().union(*cluster.pairs()) == set(ids)


@pytest.mark.usefixtures("real_programs")
async def test_it_goes_on_when_redis_is_back(make: Callable[..., Matchmaker], cluster: Cluster) -> None:
    with running("valkey") as server:
        pool = Pool(server.url, cluster_id="test", namespace="calls")
        matchmaker = make(pool=pool)
        stop = threading.Event()
        server.stop()
        thread = threading.Thread(target=matchmaker.run, args=(stop, 0.01))
        thread.start()
        try:
            server.start()
            enqueue(pool, "alice", "bob")

            async def are_paired() -> None:
                assert cluster.pairs() == {frozenset({"alice", "bob"})}

            await eventually(are_paired)
        finally:
            stop.set()
            thread.join()
            pool.close()
