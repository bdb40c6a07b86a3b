"""Only one sweep works at a time; its lock ends by itself, falls to the next leader, and can be taken away."""

from __future__ import annotations

import itertools
import os

import pytest

from controller.backends.sweep_lock import SweepLock, SweepTaken, operator_name
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import sweep_lock_key, sweeps_key
from controller.clients.redis.sweeps import Busy, Notes, SweepStore

_numbers = itertools.count()
OPERATOR, BY_HAND = operator_name(7, "pod-1"), "by hand on a laptop"


@pytest.fixture
def store(redis: Redis) -> SweepStore:
    return SweepStore(redis, "test", f"system/lease-{os.getpid()}-{next(_numbers)}")


async def test_a_sweep_by_hand_and_the_operator_never_work_at_once(store: SweepStore) -> None:
    operator, by_hand = SweepLock(store, OPERATOR), SweepLock(store, BY_HAND)
    await operator.take()
    with pytest.raises(SweepTaken, match="operator/7/pod-1"):
        await by_hand.take()
    await operator.give_back({})
    await by_hand.take()
    with pytest.raises(SweepTaken, match="by hand on a laptop"):
        await operator.take()


async def test_the_lock_of_an_operator_falls_to_the_next_leader_at_once_and_not_to_an_earlier_one(
    store: SweepStore,
) -> None:
    await SweepLock(store, OPERATOR).take()
    await SweepLock(store, operator_name(8, "pod-2")).take()
    with pytest.raises(SweepTaken):
        await SweepLock(store, OPERATOR).take()


async def test_a_sweep_that_died_leaves_a_lock_that_ends_by_itself(store: SweepStore, redis: Redis) -> None:
    await SweepLock(store, BY_HAND).take()
    ttl_ms = await redis._on("", "PTTL", sweep_lock_key(store.cluster_id, store.lease))
    assert 0 < ttl_ms <= 30_000
    await redis.delete(sweep_lock_key(store.cluster_id, store.lease))
    await SweepLock(store, OPERATOR).take()


async def test_a_sweep_whose_lock_was_taken_away_notices_and_writes_nothing_down(store: SweepStore) -> None:
    moment = 0.0
    operator = SweepLock(store, OPERATOR, lambda: moment)
    await operator.take()
    await SweepLock(store, BY_HAND).take(force=True)
    await operator.keep()  # it has the lock for some seconds more as far as it knows
    moment = 11.0
    with pytest.raises(SweepTaken):
        await operator.keep()
    with pytest.raises(SweepTaken):
        await operator.give_back({"cursor": "17"})
    assert (await store.read()).text("cursor") == ""
    assert await store.holder() == BY_HAND


async def test_notes_stay_for_the_next_sweep_and_the_same_request_again_changes_nothing(store: SweepStore) -> None:
    lock = SweepLock(store, OPERATOR)
    notes = await lock.take()
    for _ in range(2):
        await lock.give_back({"cursor": "0@17", "found:users": notes.number("found:users") + 3})
    notes = await SweepLock(store, operator_name(8, "pod-2")).take()
    assert (notes.text("cursor"), notes.number("found:users"), notes.number("cursor")) == ("0@17", 3, 0)


async def test_damaged_keys_begin_again(store: SweepStore, redis: Redis) -> None:
    await redis._on("", "XADD", sweep_lock_key(store.cluster_id, store.lease), "*", "a", "b")
    await redis._on("", "SET", sweeps_key(store.cluster_id, store.lease), "nonsense")
    assert await store.keep(OPERATOR, ttl_seconds=30) == Notes({})
    assert isinstance(await store.keep(BY_HAND, ttl_seconds=30), Busy)


async def test_two_installations_with_one_cluster_id_do_not_hold_each_other_up(store: SweepStore) -> None:
    await SweepLock(store, OPERATOR).take()
    other = SweepStore(store.redis, store.cluster_id, f"{store.lease}-other")
    await SweepLock(other, BY_HAND).take()
    assert await store.holder() == OPERATOR


@pytest.mark.parametrize("ttl_seconds", [None, 86_400])
async def test_a_lock_without_an_end_or_with_one_that_is_far_away_holds_up_no_sweep(
    redis: Redis, store: SweepStore, ttl_seconds: int | None
) -> None:
    await redis.put(sweep_lock_key(store.cluster_id, store.lease), "a client that is wrong", ttl_seconds=ttl_seconds)
    await SweepLock(store, OPERATOR).take()
    assert await store.holder() == OPERATOR
