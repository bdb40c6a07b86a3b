"""A key of the wrong type among those that all users of a pool share is removed, and the pool works again."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.api.match import QueuePlace
from controller.backends.pools import Pools
from controller.backends.resets import mend_pool
from controller.clients.redis.epochs import EpochStore
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import Keys
from controller.clients.redis.mending import guards_of_pool, keys_of_pool, mend_ledger
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.inbox import SignalsDone
from controller.clients.redis.replies.match import SettleOk
from controller.clients.redis.replies.pool import Written
from controller.clients.redis.replies.refusals import Lost
from controller.clients.redis.requests import ClaimMode, Served, Witnessed
from controller.errors import BackendRefused, Code
from controller.facts.ledger import Cause, Destination
from tests.redis.world import NOW, World

SHARED = [Keys("c", "n").name(key) for key in keys_of_pool(Keys("c", "n"))]
SEEN = Witnessed("room_started", (("event", "room_started"),), "", "", "", at_ms=1, joined_at_ms=0)


class OpenPool:
    """The pool of the world, open until it is forgotten."""

    def __init__(self, world: World) -> None:
        self.pool = world.pool
        self.forgotten: list[str] = []

    def unbound(self, _namespace: str) -> Pool:
        return self.pool

    def forget(self, namespace: str) -> None:
        self.forgotten.append(namespace)


async def damage(world: World, name: str) -> str:
    """Put something else under a key of the pool."""
    (key,) = (key for key in keys_of_pool(world.keys) if world.keys.name(key) == name)
    await world.raw("DEL", key)
    await world.raw("RPUSH", key, "nonsense")  # no key of ours is a list
    return key


DAMAGED = ["q:alice", "createdAt", "takenAt", "settledAt", "endAt", "aloneMs", "aloneSince", "tokensAskedAt"]


@pytest.mark.parametrize("field", DAMAGED)
async def test_a_ledger_that_makes_no_sense_is_repaired_and_keeps_what_can_be_read(world: World, field: str) -> None:
    await world.claim("u1", "alice", "bob")
    assert await mend_ledger(world.pool, "u1", {}, now_ms=NOW) == ()
    await world.settle("u1", {"bob": (Destination.IDLE, QueuePlace.NOW)}, cause=Cause("Skipped", "bob"), final=False)
    await world.raw("HSET", world.keys.match("u1"), field, "nonsense")
    with pytest.raises(BackendRefused) as caught:
        await world.pool.ledger("u1")
    assert caught.value.code == Code.DAMAGED
    assert await mend_ledger(world.pool, "u1", {"alice": 7}, now_ms=NOW) == (field,)
    assert await mend_ledger(world.pool, "u1", {"alice": 7}, now_ms=NOW) == ()
    ledger = await world.ledger("u1")
    assert ledger.end is not None
    assert (ledger.end.cause.reason, set(ledger.outcomes)) == ("Skipped", {"bob"})
    assert ledger.queued_at_ms == {"alice": 7 if field == "q:alice" else None, "bob": None}


async def test_an_end_without_a_reason_and_with_a_time_that_makes_no_sense_is_no_end(world: World) -> None:
    await world.claim("u1", "alice", "bob")
    await world.raw("HSET", world.keys.match("u1"), "endAt", "nonsense")
    await mend_ledger(world.pool, "u1", {}, now_ms=NOW)
    assert (await world.ledger("u1")).end is None


async def test_a_ledger_that_is_no_ledger_at_all_is_removed(world: World) -> None:
    await world.raw("SET", world.keys.match("u1"), "nonsense")
    assert await mend_ledger(world.pool, "u1", {}, now_ms=NOW) == (world.keys.match("u1"),)
    assert await world.pool.ledger("u1") is None


@pytest.mark.parametrize("outcome", ["PARKED:7", "WAITING:soon", ""])
async def test_a_user_whom_a_newer_version_has_settled_stays_settled(world: World, outcome: str) -> None:
    await world.claim("u1", "alice", "bob")
    await world.raw("HSET", world.keys.match("u1"), "s:alice", outcome)
    await world.raw("HSET", world.keys.user("alice"), "match", "")
    assert await mend_ledger(world.pool, "u1", {}, now_ms=NOW) == (), "it is not damaged"
    settled = (await world.ledger("u1")).outcomes["alice"]
    assert (str(settled.outcome), settled.score_ms) == (outcome.partition(":")[0], 7 if "7" in outcome else None)
    await world.claim("u1", "alice", "bob", mode=ClaimMode.RESTORE)
    assert (await world.user("alice")).match == "", "a restore does not take the user again"
    replied = await world.settle("u1", dict.fromkeys(("alice", "bob"), (Destination.IDLE, QueuePlace.NOW)))
    assert isinstance(replied, SettleOk)
    assert {user.id: str(user.outcome) for user in replied.users} == {"alice": str(settled.outcome), "bob": "IDLE"}
    assert (await world.events())[-1]["type"].endswith("match.ended"), "the end is published all the same"


@pytest.mark.parametrize("name", SHARED)
async def test_a_damaged_key_is_removed_and_a_pool_without_its_guard_is_closed(world: World, name: str) -> None:
    key = await damage(world, name)
    pools = OpenPool(world)
    assert await mend_pool(world.keys.namespace, cast("Pools", pools)) == (key,)
    assert await mend_pool(world.keys.namespace, cast("Pools", pools)) == ()
    is_guard = key in set(guards_of_pool(world.keys))
    assert pools.forgotten == ([world.keys.namespace] if is_guard else [])


async def test_signals_and_webhooks_are_read_and_written_again(world: World) -> None:
    for name in ("signals", "signals-done", "webhooks:0"):
        await damage(world, name)
    inbox = Inbox(world.pool)
    with pytest.raises(BackendRefused):
        await world.pool.witness(SEEN)
    with pytest.raises(BackendRefused):
        await inbox.signals_done()
    await mend_pool(world.keys.namespace, cast("Pools", OpenPool(world)))
    await world.pool.witness(SEEN)
    assert await inbox.signals_done() == "0-0"
    sent = await world.raw("XADD", world.keys.signals(), "*", "type", "skip", "user", "alice")
    assert await inbox.set_signals_done(sent) == SignalsDone(sent)


class NothingToRestore:
    """Counts how often all Matches are restored."""

    def __init__(self) -> None:
        self.restored = 0

    async def restore_all(self, *_: Any) -> int:
        self.restored += 1
        return 0

    async def compare(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("name", ["incarnation", "fence:0"])
async def test_a_damaged_guard_counts_as_a_loss_of_data_and_the_pool_is_restored_when_it_opens(
    world: World, name: str
) -> None:
    restorer = NothingToRestore()
    pools = Pools(
        world.redis,
        world.keys.cluster_id,
        1,
        epochs=EpochStore(world.redis, world.keys.cluster_id, "system/shard-0"),
        served=Served("1.0", 30),
        restorer=cast("Any", restorer),
        confirm=_nothing,
        outdated=lambda _epoch: None,
        opened=lambda _namespace: None,
    )
    opened = await pools.get(world.keys.namespace)
    before = restorer.restored
    assert await opened.serve(Served("1.0", 30)) == Written()
    await damage(world, name)
    pools.forget(world.keys.namespace)
    again = await pools.get(world.keys.namespace)
    assert again.incarnation != opened.incarnation
    assert restorer.restored == before + 1
    assert await opened.serve(Served("1.0", 30)) == Lost(), "who knows the pool from before writes nothing"
    assert await again.serve(Served("1.0", 30)) == Written()


async def _nothing() -> None:
    """The lease is ours."""
