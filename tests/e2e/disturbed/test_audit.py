"""Another client changes our records in Redis, or all of them are lost, while nothing else happens."""

from __future__ import annotations

from typing import Any

from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_NOBODYS: dict[Any, Any] = {
    "state": "IDLE",
    **dict.fromkeys(("match", "matchName", "room", "url", "sessionID", "queuedAt"), ""),
}


async def test_a_loss_of_all_data_in_redis_is_noticed_while_nothing_else_happens(rig: Rig) -> None:
    await rig.operators.start()
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    match, _ = await rig.active()
    await rig.redis.delete(*[key async for key in rig.redis.scan_iter(rig.keys.pattern)])
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    user = await rig.user("alice")
    assert (user.match, user.queued_at_ms) == (match.metadata.uid, places["alice"])
    assert (await rig.kube.match()).status.phase == "Active"


async def test_a_call_is_over_once_its_user_was_taken_away_in_redis(rig: Rig) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.active()
    await rig.redis.hset(rig.keys.user("bob"), mapping=_NOBODYS)
    await rig.redis.expire(rig.keys.user("bob"), 600)
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Ended", "UserTakenAway")
    assert match.status.end is not None
    assert match.status.end.reason == "Disconnected"
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_a_call_is_over_once_another_service_left_a_tombstone_for_its_room(rig: Rig) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    match, people = await rig.active()
    await rig.redis.set(rig.keys.room_deleted(await rig.livekit_name(match)), "1", ex=600)
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert match.status.end is not None
    assert match.status.end.reason == "RoomLost"
    assert "tombstone" in (match.status.end.message or "")
    await rig.expect_states(alice="WAITING", bob="WAITING")

    async def closed() -> None:
        assert all(person.seen("disconnected") for person in people)
        assert await rig.livekit_rooms() == {}

    await eventually(closed)
