"""A Redis that is older than what its owner knows: it is noticed at the next request, and nothing is written to it."""

from __future__ import annotations

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.inspection import with_losses
from controller.clients.redis.mark import parse_fence
from controller.clients.redis.replies.match import ClaimOk
from controller.clients.redis.replies.pool import Incarnation, Written
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import ClaimMode, Served
from controller.facts.ledger import Destination
from tests.redis.world import World

AGAIN = (Destination.WAITING, QueuePlace.NOW)


async def go_back(world: World, requests: int) -> None:
    """Take the fence back by so many requests, as a snapshot from before them has it."""
    epoch, number = parse_fence(await world.raw("GET", world.keys.fence(0)))
    await world.raw("SET", world.keys.fence(0), f"{epoch}:{number - requests}")


async def reopen(world: World) -> tuple[Incarnation, World]:
    """Begin as the owner does after a loss."""
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    return begun, World(world.redis, world.keys, world.pool.at(begun), world.gateway)


async def test_a_redis_that_is_one_request_behind_refuses_every_write(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await go_back(world, 1)
    before = await world.snapshot()
    assert await world.claim("m2", "carol", "dan") == Lost()
    assert await world.settle("m1", {"alice": AGAIN, "bob": AGAIN}) == Lost()
    assert await world.pool.serve(Served("1.0", 30)) == Lost()
    assert await world.snapshot() == before


async def test_a_fence_that_is_gone_is_a_loss_too(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.raw("DEL", world.keys.fence(0))
    assert await world.claim("m2", "carol", "dan") == Lost()


async def test_a_fence_that_cannot_be_read_is_a_loss_and_is_mended(world: World) -> None:
    await world.raw("SET", world.keys.fence(0), "nonsense")
    assert await world.claim("m1", "alice", "bob") == Lost()
    begun, again = await reopen(world)
    assert begun.restoring
    finished = await again.pool.finish_restore()
    assert isinstance(finished, Incarnation)
    assert isinstance(await again.other_owner(incarnation=finished.value).claim("m1", "alice", "bob"), ClaimOk)


async def test_a_pool_that_was_bound_to_the_older_redis_is_shut_out_while_it_is_restored(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await go_back(world, 1)
    begun, again = await reopen(world)
    assert begun.restoring
    assert begun.value != world.pool.incarnation
    assert await world.claim("m2", "carol", "dan") == Lost()
    restored = await again.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE, state=UserState.IN_CALL)
    assert isinstance(restored, ClaimOk)
    assert isinstance(await again.pool.finish_restore(), Incarnation)
    assert await world.claim("m2", "carol", "dan") == Lost()


async def test_a_successor_knows_nothing_of_earlier_requests_and_accepts_what_is_there(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await go_back(world, 1)
    successor = world.other_owner(epoch=2)
    begun = await successor.pool.begin_restore()
    assert begun == Incarnation(world.pool.incarnation)
    assert isinstance(await successor.pool.serve(Served("1.0", 30)), Written)
    assert await world.claim("m2", "carol", "dan") == Stale(2)


async def test_the_fence_counts_the_requests_that_it_refuses_for_another_reason(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = parse_fence(await world.raw("GET", world.keys.fence(0)))
    await world.claim("m2", "alice", "carol")
    epoch, number = parse_fence(await world.raw("GET", world.keys.fence(0)))
    assert (epoch, number) == (before[0], before[1] + 1)


async def test_requests_that_come_out_of_order_are_no_loss(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    late = world.pool.mark.next()
    await world.claim("m2", "carol", "dan")
    assert parse_fence(await world.raw("GET", world.keys.fence(0)))[1] > late
    assert isinstance(await world.claim("m2", "carol", "dan"), ClaimOk)


async def test_an_idle_pool_shows_that_redis_is_older_without_any_write(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    assert await with_losses(world.redis, [world.pool]) == ()
    await go_back(world, 1)
    assert await with_losses(world.redis, [world.pool]) == (world.pool,)
    await world.raw("DEL", world.keys.incarnation())
    assert await with_losses(world.redis, [world.pool]) == (world.pool,)
    # Another owner has a higher epoch by now: that is no loss.
    fresh = world.other_owner(epoch=9, incarnation="")
    assert await with_losses(world.redis, [fresh.pool]) == (fresh.pool,)
