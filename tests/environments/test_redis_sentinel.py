"""Redis behind sentinels: the master is found, followed through failovers, and nobody else is taken for it."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest
import redis as redis_py

from controller.clients.redis.client import Redis
from controller.clients.redis.inspection import with_losses
from controller.clients.redis.replies.match import ClaimOk
from controller.clients.redis.replies.refusals import Lost
from controller.errors import BackendRefused, BackendUnavailable, Forbidden
from examples.matchmaker.pool import Pool
from sandbox.redis_nodes import HOST, MASTER_NAME, Sentinels, until
from tests.environments.pools import Load, live_once, repeated
from tests.examples.support import goes_round
from tests.redis.world import World
from tests.support.real_programs import MARKER

pytestmark = [getattr(pytest.mark, MARKER), pytest.mark.xdist_group("sentinels")]


async def test_a_match_lives_its_whole_life(behind_sentinels: Redis) -> None:
    await live_once(await World.new(behind_sentinels, "life"))


async def test_a_killed_master_is_followed_and_its_successor_knows_every_answered_request(
    sentinels: Sentinels, behind_sentinels: Redis
) -> None:
    world = await World.new(behind_sentinels, "killed")
    old, new = sentinels.master, sentinels.replica
    async with Load(world, "pair") as load:
        await load.more(20)
        # A replica lags behind by what is on its way; here nothing is.
        assert await world.raw("WAIT", 1, 1000) == 1
        held = load.done
        await asyncio.to_thread(old.stop)
        await asyncio.to_thread(sentinels.await_promotion, new)
        promoted = asyncio.get_running_loop().time()
        answer = await repeated(lambda: behind_sentinels.text("any"))
        assert answer is None
        assert asyncio.get_running_loop().time() - promoted < 5
        await load.more(20)
        assert load.done > held
    assert (await world.raw("ROLE"))[0] == "master"
    await asyncio.to_thread(sentinels.rejoin, old)


async def test_an_old_master_that_comes_back_empty_is_not_taken(sentinels: Sentinels) -> None:
    """The sentinels demote it some seconds later; until then it says that it is a master."""
    client = Redis.from_url(sentinels.url)
    await client.put("who", "kept")
    old, new = sentinels.master, sentinels.replica
    until(lambda: new("GET", "who") == "kept")
    await asyncio.to_thread(old.stop)
    await asyncio.to_thread(sentinels.await_promotion, new)
    await asyncio.to_thread(old.start, "--replicaof", "no", "one")
    assert old.is_master
    for _ in range(20):
        late = Redis.from_url(sentinels.url)
        assert await late.text("who") == "kept"
        assert await client.text("who") == "kept"
        await late.close()
        new("CLIENT", "KILL", "TYPE", "normal")
    await client.close()
    await asyncio.to_thread(sentinels.rejoin, old)


async def test_a_replica_that_lags_and_is_promoted_is_noticed_by_the_next_request(
    sentinels: Sentinels, behind_sentinels: Redis
) -> None:
    world = await World.new(behind_sentinels, "lag")
    assert isinstance(await world.claim("m1", "alice", "bob"), ClaimOk)
    assert await world.raw("WAIT", 1, 1000) == 1
    old, new = sentinels.master, sentinels.replica
    new("REPLICAOF", HOST, 1)  # it follows nobody from here on
    assert isinstance(await world.claim("m2", "carol", "dave"), ClaimOk)
    await asyncio.to_thread(old.stop)
    await asyncio.to_thread(sentinels.await_promotion, new)
    assert await repeated(lambda: with_losses(behind_sentinels, [world.pool])) == (world.pool,)
    assert isinstance(await repeated(lambda: world.claim("m3", "erin", "frank")), Lost)
    await asyncio.to_thread(sentinels.rejoin, old)


@pytest.mark.parametrize("frozen", [0, 1, 2])
async def test_a_sentinel_that_hangs_holds_up_nobody(sentinels: Sentinels, frozen: int) -> None:
    sentinels.sentinels[frozen].freeze()
    try:
        client = Redis.from_url(sentinels.url)
        await client.ping()
        await client.close()
    finally:
        sentinels.sentinels[frozen].thaw()
    sentinels.await_replication()


async def test_a_user_of_the_sentinels_needs_two_rights(sentinels: Sentinels) -> None:
    rights = ("+sentinel|master", "+sentinel|get-master-addr-by-name")
    for sentinel in sentinels.sentinels:
        sentinel("ACL", "SETUSER", "roomkeeper", "reset", "on", ">secret", *rights)
    client = Redis.from_url(f"{sentinels.url}?sentinel_username=roomkeeper&sentinel_password=secret")
    await client.ping()
    await client.close()
    stranger = Redis.from_url(f"{sentinels.url}?sentinel_username=roomkeeper&sentinel_password=wrong")
    with pytest.raises(Forbidden, match="WRONGPASS"):
        await stranger.ping()
    await stranger.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://{sentinel}", "names a sentinel, which holds no data; use redis\\+sentinel://"),
        ("redis+sentinel://{sentinel}/other", "names a master that the sentinels do not know"),
        ("redis+sentinel://{master}/" + MASTER_NAME, "names a server that is no sentinel"),
        ("redis+cluster://{master}", "names a server that is no node of a Redis Cluster"),
    ],
)
async def test_an_address_of_the_wrong_kind_is_refused_with_a_sentence(
    sentinels: Sentinels, url: str, sentence: str
) -> None:
    client = Redis.from_url(url.format(sentinel=sentinels.sentinels[0].address, master=sentinels.master.address))
    with pytest.raises(BackendRefused, match=sentence):
        await client.ping()
    await client.close()


async def test_a_replica_is_no_master(sentinels: Sentinels) -> None:
    client = Redis.from_url(f"redis://{sentinels.replica.address}")
    with pytest.raises(BackendUnavailable, match="READONLY"):
        await client.text("any")
    await client.close()


def test_the_example_matchmaker_follows_the_master_that_the_sentinels_name(sentinels: Sentinels) -> None:
    with closing(Pool(sentinels.url, cluster_id="example", namespace="calls")) as pool:
        goes_round(pool)
        sentinels.await_replication()
        old, new = sentinels.master, sentinels.replica
        old.stop()
        sentinels.await_promotion(new)

        def again() -> bool:
            try:
                pool.release(1)
            except redis_py.RedisError:  # the matchmaker tries again, too
                return False
            return True

        until(again)
        goes_round(pool)
    sentinels.rejoin(old)
