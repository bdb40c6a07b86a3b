"""Somebody else changes what is ours in Redis, or all of it goes, while nothing else happens."""

from __future__ import annotations

from typing import Any

from tests.support.kube import is_true
from tests.support.waiting import eventually
from tests.support.world import World

_NOBODYS: dict[Any, Any] = {
    "state": "IDLE",
    **dict.fromkeys(("match", "matchName", "room", "url", "sessionID", "queuedAt"), ""),
}


async def test_a_redis_that_lost_everything_is_noticed_though_nothing_happens(world: World) -> None:
    await world.operators.start()
    places = dict(zip(("alice", "bob"), await world.enqueue("alice", "bob"), strict=True))
    match, _ = await world.active()
    await world.redis.delete(*[key async for key in world.redis.scan_iter(f"{world.keys.prefix}*")])
    await world.expect_states(alice="IN_CALL", bob="IN_CALL")
    user = await world.user("alice")
    assert (user.match, user.queued_at_ms) == (match.metadata.uid, places["alice"])
    assert (await world.kube.match()).status.phase == "Active"


async def test_a_call_whose_user_is_taken_away_in_redis_is_over(world: World) -> None:
    await world.operators.start()
    await world.enqueue("alice", "bob")
    await world.active()
    await world.redis.hset(world.keys.user("bob"), mapping=_NOBODYS)
    await world.redis.expire(world.keys.user("bob"), 600)
    match = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Ended", "UserTakenAway")
    assert match.status.end is not None
    assert match.status.end.reason == "Disconnected"
    await world.expect_states(alice="WAITING", bob="IDLE")


async def test_a_call_whose_room_somebody_buried_is_over(world: World) -> None:
    await world.operators.start()
    await world.enqueue("alice", "bob")
    match, people = await world.active()
    await world.redis.set(world.keys.room_deleted(await world.livekit_name(match)), "1", ex=600)
    match = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert match.status.end is not None
    assert match.status.end.reason == "RoomLost"
    assert "tombstone" in (match.status.end.message or "")
    await world.expect_states(alice="WAITING", bob="WAITING")

    async def closed() -> None:
        assert all(person.seen("disconnected") for person in people)
        assert await world.livekit_rooms() == {}

    await eventually(closed)
