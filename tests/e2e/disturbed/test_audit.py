"""Another client changes our records in Redis, or all of them are lost, while nothing else happens."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize("damage", ["evicted", "another type"])
@pytest.mark.parametrize("what", ["the user", "the ledger", "both"])
async def test_a_record_of_a_call_that_redis_lost_is_written_again(rig: Rig, what: str, damage: str) -> None:
    """A record that is not there says nothing about the call, which goes on."""
    await rig.operators.start(poll_seconds="0.5")
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    match, people = await rig.active()
    of_user, ledger = rig.keys.user("alice"), rig.keys.match(match.metadata.uid)
    for key in {"the user": [of_user], "the ledger": [ledger], "both": [of_user, ledger]}[what]:
        await rig.redis.delete(key)
        if damage == "another type":
            await rig.redis.set(key, "a string")
    await rig.kube.patch("Match", "match", {"metadata": {"annotations": {"example.com/look": "again"}}})

    async def written_again() -> None:
        assert [await rig.redis.type(key) for key in (of_user, ledger)] == ["hash", "hash"]
        user = await rig.user("alice")
        assert (user.state, user.match, user.queued_at_ms) == ("IN_CALL", match.metadata.uid, places["alice"])
        assert await rig.redis.hget(ledger, "claimed") == "1"

    await eventually(written_again)
    assert (await rig.kube.match()).status.phase == "Active"
    assert not any(person.seen("disconnected") for person in people)
    await rig.delete()
    await rig.expect_states(alice="WAITING", bob="WAITING")


@pytest.mark.parametrize("phase", ["Ended", "Failed"])
async def test_a_terminal_phase_that_another_client_wrote_is_put_right(rig: Rig, phase: str) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    _, people = await rig.active()
    await rig.kube.patch("Match", "match", {"status": {"phase": phase}}, subresource="status")
    match = await rig.kube.match_until(lambda found: found.status.phase == "Active")
    assert match.status.end is None
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    assert not any(person.seen("disconnected") for person in people)


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
