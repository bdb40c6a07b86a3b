"""Redis remembers the highest epoch of each Lease; another installation with the same cluster id outdates nobody."""

from __future__ import annotations

import itertools
import os

import pytest

from controller.clients.redis.client import Redis
from controller.clients.redis.epochs import Epochs, EpochStore
from controller.clients.redis.keys import epoch_key
from tests.redis.world import World

_numbers = itertools.count()


@pytest.fixture
def cluster_id() -> str:
    return f"epochs-{os.getpid()}-{next(_numbers)}"


async def test_the_highest_epoch_of_a_lease_is_remembered(redis: Redis, cluster_id: str) -> None:
    store = EpochStore(redis, cluster_id, "system/shard-0")
    assert await store.read(near=0) == Epochs(0, 0)
    assert await store.note(7) == Epochs(7, 7)
    assert await store.note(1) == Epochs(7, 7)
    assert await store.read(near=1) == Epochs(7, 7)


async def test_the_epoch_of_another_lease_is_told_and_changes_ours_in_nothing(redis: Redis, cluster_id: str) -> None:
    ours, theirs = (EpochStore(redis, cluster_id, f"system/{name}") for name in ("ours", "theirs"))
    await ours.note(42)
    assert await theirs.read(near=0) == Epochs(0, 42)
    assert await theirs.note(43) == Epochs(43, 43)
    assert await ours.note(42) == Epochs(42, 43)


async def test_a_value_far_above_is_no_epoch_and_does_not_count(redis: Redis, cluster_id: str) -> None:
    ours, theirs = (EpochStore(redis, cluster_id, f"system/{name}") for name in ("ours", "theirs"))
    await theirs.note(2**60)
    await ours.note(2**60)
    assert await ours.read(near=7) == Epochs(0, 0)
    assert await ours.note(7) == Epochs(7, 7)


@pytest.mark.parametrize(("damage", "known"), [(("SET", "42"), 42), (("SET", "nonsense"), 0), (("RPUSH", "x"), 0)])
async def test_the_one_epoch_of_an_earlier_version_counts_and_damage_holds_up_no_pool(
    world: World, cluster_id: str, damage: tuple[str, str], known: int
) -> None:
    command, value = damage
    await world.raw(command, epoch_key(cluster_id), value)
    store = EpochStore(world.redis, cluster_id, "system/shard-0")
    assert await store.read(near=0) == Epochs(known, known), "each Lease goes above it"
    assert await store.note(1) == Epochs(max(1, known), max(1, known))
    assert await store.note(known + 1) == Epochs(known + 1, known + 1)


async def test_leases_that_come_and_go_leave_a_bounded_number_of_epochs(world: World, cluster_id: str) -> None:
    for number in range(1, 80):
        await EpochStore(world.redis, cluster_id, f"system/lease-{number}").note(number)
    assert await world.raw("HLEN", epoch_key(cluster_id)) <= 65
    assert await EpochStore(world.redis, cluster_id, "system/lease-79").read(near=0) == Epochs(79, 79)
