"""Records of rooms never come back to life, and tokens do not outlive their Match."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.match import QueuePlace
from controller.clients.redis.records import RoomRecord
from controller.clients.redis.replies.pool import RoomAbsent, RoomOver, Written
from controller.clients.redis.replies.refusals import Lost, Settled, Stale, Unclaimed
from controller.facts.ledger import Destination
from tests.redis.world import NOW, World

IDLE = (Destination.IDLE, QueuePlace.ORIGINAL)
RECORD = RoomRecord(
    livekit_name="rk-1",
    room_name="rk-1b2c",
    status="creating",
    created_at_ms=NOW,
    max_participants=2,
    session_id="s-1",
    user1="alice",
    user2="bob",
)
RECORD_FIELDS = {
    "roomName": "rk-1b2c",
    "sessionID": "s-1",
    "user1": "alice",
    "user2": "bob",
    "createdAt": str(NOW),
    "maxParticipants": "2",
}


async def test_a_record_has_all_its_fields_and_a_ttl_of_two_hours(world: World) -> None:
    assert await world.pool.write_room_record(RECORD, now_ms=NOW + 5) == Written()
    snapshot = await world.snapshot()
    assert snapshot.values["room:rk-1"] == RECORD_FIELDS | {"status": "creating", "lastUpdated": str(NOW + 5)}
    assert 7_100_000 < await world.raw("PTTL", world.keys.room("rk-1")) <= 7_200_000


async def test_writing_again_renews_the_ttl(world: World) -> None:
    await world.pool.write_room_record(RECORD, now_ms=NOW)
    await world.raw("PEXPIRE", world.keys.room("rk-1"), 5000)
    await world.pool.write_room_record(replace(RECORD, status="active"), now_ms=NOW)
    assert await world.raw("PTTL", world.keys.room("rk-1")) > 7_100_000


@pytest.mark.parametrize("status", ["creating", "active", "terminating"])
async def test_a_closed_record_stays_closed(world: World, status: str) -> None:
    await world.pool.write_room_record(RECORD, now_ms=NOW)
    assert await world.pool.end_room_record("rk-1", now_ms=NOW + 1) == Written()
    before = await world.snapshot()
    assert await world.pool.write_room_record(replace(RECORD, status=status), now_ms=NOW + 2) == RoomOver()
    assert await world.pool.end_room_record("rk-1", now_ms=NOW + 3) == Written()
    assert await world.snapshot() == before
    assert before.values["room:rk-1"]["status"] == "terminated"
    assert before.values["room:rk-1"]["roomName"] == "rk-1b2c"


async def test_a_room_that_is_being_closed_is_not_shown_as_open_again(world: World) -> None:
    await world.pool.write_room_record(replace(RECORD, status="terminating"), now_ms=NOW)
    assert await world.pool.write_room_record(replace(RECORD, status="active"), now_ms=NOW) == RoomOver()
    assert await world.pool.write_room_record(replace(RECORD, status="failed"), now_ms=NOW) == Written()


async def test_a_lost_room_may_be_created_again_under_its_name(world: World) -> None:
    await world.pool.write_room_record(replace(RECORD, status="active"), now_ms=NOW)
    assert await world.pool.write_room_record(RECORD, now_ms=NOW) == Written()


async def test_closing_a_record_that_is_not_there_creates_none(world: World) -> None:
    before = await world.snapshot()
    assert await world.pool.shut_room_record("rk-1", now_ms=NOW) == RoomAbsent()
    assert await world.snapshot() == before
    assert await world.pool.end_room_record("rk-1", now_ms=NOW, leaves_tombstone=False) == RoomAbsent()
    assert not await world.pool.is_tombstoned("rk-1"), "a room that is left to its participants"
    assert await world.pool.end_room_record("rk-1", now_ms=NOW) == RoomAbsent()
    assert (await world.snapshot()).without("room-deleted:rk-1") == before.without("room-deleted:rk-1")
    assert await world.pool.is_tombstoned("rk-1")


async def test_record_and_tombstone_are_one_write(world: World) -> None:
    await world.pool.write_room_record(RECORD, now_ms=NOW)
    await world.pool.shut_room_record("rk-1", now_ms=NOW + 1)
    snapshot = await world.snapshot()
    assert snapshot.values["room:rk-1"] == RECORD_FIELDS | {"status": "terminating", "lastUpdated": str(NOW + 1)}
    assert not await world.pool.is_tombstoned("rk-1")
    await world.pool.end_room_record("rk-1", "failed", now_ms=NOW + 2)
    snapshot = await world.snapshot()
    assert snapshot.values["room:rk-1"] == RECORD_FIELDS | {"status": "failed", "lastUpdated": str(NOW + 2)}
    assert await world.pool.is_tombstoned("rk-1")


async def test_a_tombstone_that_was_never_left_is_left_by_the_replay(world: World) -> None:
    await world.pool.write_room_record(replace(RECORD, status="terminated"), now_ms=NOW)
    assert not await world.pool.is_tombstoned("rk-1")
    assert await world.pool.end_room_record("rk-1", now_ms=NOW) == Written()
    assert await world.pool.is_tombstoned("rk-1")
    assert await world.pool.end_room_record("rk-1", "failed", now_ms=NOW) == RoomOver()


async def test_who_does_not_know_the_call_leaves_session_and_users_as_they_are(world: World) -> None:
    strange = replace(RECORD, status="active", session_id="", user1="", user2="")
    await world.pool.write_room_record(strange, now_ms=NOW, knows_call=False)
    assert not {"sessionID", "user1", "user2"} & set((await world.snapshot()).values["room:rk-1"])
    await world.pool.write_room_record(RECORD, now_ms=NOW)
    await world.pool.write_room_record(strange, now_ms=NOW, knows_call=False)
    record = (await world.snapshot()).values["room:rk-1"]
    assert (record["status"], record["sessionID"], record["user1"], record["user2"]) == (
        "active", "s-1", "alice", "bob",
    )  # fmt: skip


async def test_a_tombstone_refuses_a_late_record_and_goes_by_itself(world: World) -> None:
    await world.pool.end_room_record("rk-1", now_ms=NOW)
    assert 86_000_000 < await world.raw("PTTL", world.keys.room_deleted("rk-1")) <= 86_400_000
    before = await world.snapshot()
    assert await world.pool.write_room_record(RECORD, now_ms=NOW) == RoomOver()
    assert await world.snapshot() == before
    assert await world.pool.write_room_record(replace(RECORD, status="terminating"), now_ms=NOW) == Written()


async def test_an_owner_that_is_out_of_date_writes_no_record(world: World) -> None:
    before = await world.snapshot()
    assert await world.other_owner(epoch=0).pool.write_room_record(RECORD, now_ms=NOW) == Stale(1)
    assert await world.other_owner(incarnation="x").pool.write_room_record(RECORD, now_ms=NOW) == Lost()
    assert await world.snapshot() == before


async def test_tokens_are_there_for_a_claimed_match_and_go_by_themselves(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    tokens = {"alice": '{"token": "a"}', "bob": '{"token": "b"}'}
    assert await world.pool.put_tokens("m1", tokens, ttl_seconds=900) == Written()
    assert await world.gateway.tokens("m1", "alice") == '{"token": "a"}'
    assert await world.gateway.tokens("m1", "zed") is None
    assert 890_000 < await world.raw("PTTL", world.keys.tokens("m1")) <= 900_000


async def test_new_tokens_replace_all_old_ones(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.pool.put_tokens("m1", {"alice": "1", "bob": "2"}, ttl_seconds=900)
    await world.pool.put_tokens("m1", {"alice": "3"}, ttl_seconds=900)
    assert (await world.snapshot()).values["tokens:m1"] == {"alice": "3"}


async def test_tokens_are_deleted_once_and_for_all(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.pool.put_tokens("m1", {"alice": "1"}, ttl_seconds=900)
    await world.settle("m1", {"alice": IDLE, "bob": IDLE})
    for _ in range(2):
        assert await world.pool.delete_tokens("m1") == Written()
    assert await world.pool.put_tokens("m1", {"alice": "1"}, ttl_seconds=900) == Settled()
    assert "tokens:m1" not in (await world.snapshot()).values


async def test_a_match_without_a_claim_gets_no_tokens(world: World) -> None:
    before = await world.snapshot()
    assert await world.pool.put_tokens("m1", {"alice": "1"}, ttl_seconds=900) == Unclaimed()
    assert await world.snapshot() == before


async def test_a_stale_owner_does_not_delete_the_tokens_of_a_call(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.pool.put_tokens("m1", {"alice": "1"}, ttl_seconds=900)
    assert await world.other_owner(epoch=0).pool.delete_tokens("m1") == Stale(1)
    assert "tokens:m1" in (await world.snapshot()).values


async def test_putting_no_tokens_is_a_mistake(world: World) -> None:
    with pytest.raises(ValueError, match="delete_tokens"):
        await world.pool.put_tokens("m1", {}, ttl_seconds=900)
