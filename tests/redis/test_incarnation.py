"""A loss of data is noticed, nothing is written until the ledgers are restored, and then all is as before."""

from __future__ import annotations

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.replies.match import AdvanceOk, ClaimOk, ClaimReply, SettleOk
from controller.clients.redis.replies.pool import Incarnation
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import AdvanceRequest, ClaimMode
from controller.facts.ledger import Destination
from tests.redis.world import NOW, World

AGAIN = (Destination.WAITING, QueuePlace.NOW)


async def restore(world: World) -> ClaimReply:
    """Claim m1 again from what its status remembers."""
    return await world.claim(
        "m1", "alice", "bob", mode=ClaimMode.RESTORE, state=UserState.IN_CALL, places={"alice": 1000}
    )


async def test_ensuring_twice_gives_the_same_incarnation(world: World) -> None:
    first = await world.pool.ensure_incarnation()
    assert first == await world.pool.ensure_incarnation()
    assert first.value == world.pool.incarnation
    assert not first.restoring


async def test_after_a_loss_every_write_is_refused_and_nothing_is_written(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.lose_everything()
    advance = AdvanceRequest("m1", (("alice", UserState.IN_CALL),), phase="Active")
    assert await world.claim("m2", "alice", "bob") == Lost()
    assert await restore(world) == Lost()
    assert await world.pool.advance(advance, now_ms=NOW) == Lost()
    assert await world.settle("m1", {"alice": AGAIN, "bob": AGAIN}) == Lost()
    assert await world.pool.put_tokens("m1", {"alice": "{}"}, ttl_seconds=60) == Lost()
    assert await world.pool.end_room_record("rk-1", now_ms=NOW) == Lost()
    assert (await world.snapshot()).values == {}


async def test_while_restoring_only_restoring_claims_pass(world: World) -> None:
    await world.lose_everything()
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    assert begun.restoring
    restorer = world.other_owner(incarnation=begun.value)
    assert isinstance(await restore(restorer), ClaimOk)
    before = await world.snapshot()
    assert await restorer.claim("m2", "carol", "dan") == Lost()
    assert await restorer.settle("m1", {"alice": AGAIN, "bob": AGAIN}) == Lost()
    assert await restore(world) == Lost()
    assert await world.snapshot() == before


async def test_others_see_that_it_is_being_restored_and_cannot_open_it(world: World) -> None:
    await world.lose_everything()
    begun = await world.pool.begin_restore()
    assert await world.pool.ensure_incarnation() == begun
    assert await world.pool.finish_restore() == Lost()


async def test_a_restored_pool_goes_on_where_it_was(world: World) -> None:
    await world.lose_everything()
    await world.gateway.enqueue("alice")
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    restorer = world.other_owner(incarnation=begun.value)
    await restore(restorer)
    finished = await restorer.pool.finish_restore()
    assert isinstance(finished, Incarnation)
    assert not finished.restoring
    assert await restorer.pool.finish_restore() == finished
    owner = world.other_owner(incarnation=finished.value)
    both = (("alice", UserState.DISCONNECTING), ("bob", UserState.DISCONNECTING))
    assert isinstance(await owner.pool.advance(AdvanceRequest("m1", both), now_ms=NOW), AdvanceOk)
    reply = await owner.settle("m1", {"alice": (Destination.BACK, QueuePlace.ORIGINAL), "bob": AGAIN})
    assert isinstance(reply, SettleOk)
    assert await world.queue() == {"alice": 1000}
    assert await restore(restorer) == Lost()


async def test_beginning_again_shuts_out_an_owner_that_did_not_finish(world: World) -> None:
    await world.lose_everything()
    first = await world.pool.begin_restore()
    second = await world.pool.begin_restore()
    assert isinstance(first, Incarnation)
    assert isinstance(second, Incarnation)
    assert first != second
    slow = world.other_owner(incarnation=first.value)
    assert await restore(slow) == Lost()
    assert await slow.pool.finish_restore() == Lost()


async def test_a_loss_in_the_middle_of_restoring_is_noticed(world: World) -> None:
    await world.lose_everything()
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    restorer = world.other_owner(incarnation=begun.value)
    await world.lose_everything()
    assert await restore(restorer) == Lost()
    assert await restorer.pool.finish_restore() == Lost()


async def test_there_is_nothing_to_restore_in_a_redis_that_lost_nothing(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    assert await world.pool.begin_restore() == Incarnation(world.pool.incarnation)
    assert await world.snapshot() == before


async def test_a_stale_owner_neither_begins_nor_finishes_restoring(world: World) -> None:
    await world.lose_everything()
    begun = await world.other_owner(epoch=5).pool.begin_restore()
    assert isinstance(begun, Incarnation)
    stale = world.other_owner(epoch=4, incarnation=begun.value).pool
    assert await stale.begin_restore() == Stale(5)
    assert await stale.finish_restore() == Stale(5)
    assert await world.pool.ensure_incarnation() == begun
