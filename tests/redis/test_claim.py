"""claim: all users or none, each in one Match only, from the queue or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.replies.match import (
    ClaimBlocked,
    ClaimBusy,
    ClaimedUser,
    ClaimNotQueued,
    ClaimOk,
    ClaimReserved,
)
from controller.clients.redis.replies.pool import Incarnation
from controller.clients.redis.replies.refusals import Lost, Settled, Stale
from controller.clients.redis.requests import Claimant, ClaimMode, ClaimRequest
from controller.errors import BackendRefused
from controller.facts.ledger import Destination
from tests.redis.world import NOW, World

BACK = (Destination.BACK, QueuePlace.ORIGINAL)


async def test_a_claim_takes_all_users_out_of_the_queue_and_tells_their_places(world: World) -> None:
    alice, bob = await world.enqueue_at("alice", 1000), await world.enqueue_at("bob", 2000)
    reply = await world.claim("m1", "alice", "bob")
    assert reply == ClaimOk((ClaimedUser("alice", alice), ClaimedUser("bob", bob)), replay=False)
    assert await world.queue() == {}


async def test_a_claimed_user_carries_everything_that_a_gateway_needs(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    before = await world.user("alice")
    await world.claim("m1", "alice", "bob", room="rk-room", url="wss://example.org")
    alice = await world.user("alice")
    assert alice.state is UserState.CONNECTING
    assert (alice.match, alice.match_name, alice.session_id) == ("m1", "name-m1", "session-m1")
    assert (alice.room, alice.url) == ("rk-room", "wss://example.org")
    assert (alice.since_ms, alice.queued_at_ms) == (NOW, 1000)
    assert (alice.epoch, alice.seq) == (before.epoch + 1, before.seq + 1)


async def test_a_claim_opens_the_ledger_which_lives_without_a_ttl(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.claim("m1", "alice", "bob", phase="Creating")
    ledger = await world.ledger("m1")
    assert ledger.claimed
    assert not ledger.settled
    assert (ledger.phase, ledger.created_at_ms) == ("Creating", NOW)
    assert (ledger.session_id, ledger.match_name) == ("session-m1", "name-m1")
    assert ledger.queued_at_ms == {"alice": 1000, "bob": None}
    assert ledger.outcomes == {}
    assert [match.uid for match in await world.pool.live()] == ["m1"]
    snapshot = await world.snapshot()
    assert snapshot.values["session:session-m1"] == "m1"
    assert not snapshot.expiring & {"match:m1", "session:session-m1", "user:alice", "user:bob"}


async def test_a_claimed_user_who_was_idle_no_longer_expires(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    assert "user:alice" in (await world.snapshot()).expiring
    await world.left_long_ago("alice")
    await world.claim("m1", "alice", "bob")
    assert "user:alice" not in (await world.snapshot()).expiring


async def test_a_repeated_claim_is_a_replay_that_tells_the_places_again(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    first = await world.claim("m1", "alice", "bob")
    after = await world.snapshot()
    again = await world.claim("m1", "alice", "bob", now_ms=NOW + 5)
    assert isinstance(first, ClaimOk)
    assert again == replace(first, replay=True)
    assert await world.snapshot() == after


async def test_a_replayed_claim_does_not_take_back_whom_a_partial_settle_let_go(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.claim("m1", "alice", "bob")
    await world.settle("m1", {"alice": BACK}, final=False)
    reply = await world.claim("m1", "alice", "bob")
    assert isinstance(reply, ClaimOk)
    assert reply.replay
    assert (await world.user("alice")).state is UserState.WAITING
    assert await world.queue() == {"alice": 1000}


async def test_a_user_of_another_match_is_busy_and_no_user_is_taken(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.enqueue_at("carol", 3000)
    before = await world.snapshot()
    assert await world.claim("m2", "carol", "bob") == ClaimBusy("bob", "m1")
    assert await world.snapshot() == before


async def test_queued_wants_all_users_to_wait(world: World) -> None:
    await world.enqueue("alice")
    before = await world.snapshot()
    assert await world.claim("m1", "alice", "bob", mode=ClaimMode.QUEUED) == ClaimNotQueued("bob")
    assert await world.snapshot() == before


async def test_a_ban_outranks_that_the_other_one_is_busy(world: World) -> None:
    await world.claim("m1", "alice", "zoe")
    await world.raw("SET", world.keys.blocked("bob"), "abuse")
    before = await world.snapshot()
    assert await world.claim("m2", "alice", "bob") == ClaimBlocked("bob")
    assert await world.snapshot() == before


async def test_a_settled_match_claims_no_user_again(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.settle("m1", {"alice": BACK, "bob": BACK})
    assert await world.claim("m1", "alice", "bob") == Settled()


async def test_a_late_claim_meets_the_tombstone_of_a_match_that_ended_before_it(world: World) -> None:
    await world.enqueue("alice")
    await world.settle("m1", {"alice": BACK, "bob": BACK})
    assert await world.claim("m1", "alice", "bob") == Settled()
    assert (await world.user("alice")).state is UserState.WAITING


async def test_a_lower_epoch_is_stale_and_learns_the_current_one(world: World) -> None:
    await world.other_owner(epoch=7).claim("m1", "alice", "bob")
    before = await world.snapshot()
    assert await world.claim("m2", "carol", "dan") == Stale(7)
    assert await world.snapshot() == before


async def test_a_refused_claim_raises_the_fence_all_the_same(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    assert await world.other_owner(epoch=9).claim("m2", "alice", "carol") == ClaimBusy("alice", "m1")
    assert await world.claim("m3", "dan", "erin") == Stale(9)


async def test_epochs_of_different_shards_are_not_compared(world: World) -> None:
    await world.other_owner(epoch=7, shard=3).claim("m1", "alice", "bob")
    assert isinstance(await world.claim("m2", "carol", "dan"), ClaimOk)


@pytest.mark.parametrize("incarnation", ["", "another", "restoring:x"])
async def test_an_owner_of_another_incarnation_has_lost(world: World, incarnation: str) -> None:
    before = await world.snapshot()
    stranger = world.other_owner(incarnation=incarnation, epoch=5)
    assert await stranger.claim("m1", "alice", "bob") == Lost()
    assert await world.snapshot() == before


async def test_a_reservation_for_this_match_counts_as_waiting(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.enqueue_at("bob", 2000)
    await world.gateway.reserve("name-m1", ("alice", "bob"), ttl_seconds=60)
    reply = await world.claim("m1", "alice", "bob", mode=ClaimMode.QUEUED)
    assert reply == ClaimOk((ClaimedUser("alice", 1000), ClaimedUser("bob", 2000)), replay=False)
    values = (await world.snapshot()).values
    assert "reserved" not in values
    assert "reservations" not in values


@pytest.mark.parametrize("mode", [ClaimMode.ANY, ClaimMode.QUEUED])
async def test_a_reservation_for_another_match_is_respected(world: World, mode: ClaimMode) -> None:
    await world.enqueue("alice")
    await world.gateway.reserve("other", ("alice",), ttl_seconds=60)
    before = await world.snapshot()
    assert await world.claim("m1", "alice", "bob", mode=mode) == ClaimReserved("alice", "other")
    assert await world.snapshot() == before


@pytest.mark.parametrize("age_ms", [0, 30, 60_000])
async def test_a_match_that_was_made_before_a_user_left_the_queue_does_not_take_them(world: World, age_ms: int) -> None:
    await world.enqueue("alice")
    await world.enqueue("bob")
    await world.gateway.leave("alice")
    before = await world.snapshot()
    reply = await world.claim("m1", "alice", "bob", made_ms=NOW - age_ms)
    assert reply == ClaimNotQueued("alice")
    assert await world.snapshot() == before


async def test_a_match_that_is_made_long_after_a_user_left_the_queue_takes_them(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    await world.left_long_ago("alice")
    assert await world.claim("m1", "alice", "bob", made_ms=NOW - 55_000) == ClaimNotQueued("alice")
    assert isinstance(await world.claim("m2", "alice", "bob", made_ms=NOW - 45_000), ClaimOk)
    alice = (await world.snapshot()).values["user:alice"]
    assert (alice["leftAt"], alice["leftFor"]) == ("", "")


async def test_the_match_that_a_user_was_reserved_for_does_not_take_them_after_they_left_whenever_it_comes(
    world: World,
) -> None:
    for who in ("alice", "bob"):
        await world.enqueue(who)
    await world.gateway.reserve("name-m1", ("alice", "bob"), ttl_seconds=60)
    await world.gateway.leave("alice")
    await world.left_long_ago("alice")
    assert await world.claim("m1", "alice", "bob") == ClaimNotQueued("alice")
    assert isinstance(await world.claim("m2", "alice", "carol"), ClaimOk)


async def test_a_user_who_fell_silent_in_the_queue_has_left_it_too(world: World) -> None:
    await world.enqueue("alice")
    await world.raw("ZADD", world.keys.heartbeats(), 5000, "alice")
    await Inbox(world.pool).expire("alice", 5000, now_ms=NOW)
    assert await world.claim("m1", "alice", "bob") == ClaimNotQueued("alice")


async def test_a_user_who_left_and_waits_again_is_taken(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    await world.enqueue("alice")
    assert isinstance(await world.claim("m1", "alice", "bob", made_ms=NOW - 5000), ClaimOk)


async def test_a_lost_ledger_is_restored_whether_or_not_its_users_left_the_queue_since(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    assert isinstance(await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE), ClaimOk)


async def test_the_record_of_a_user_who_left_stays_for_a_minute_at_least(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice", idle_seconds=1)
    assert 50_000 < await world.raw("PTTL", world.keys.user("alice")) <= 60_000


async def test_an_expired_reservation_for_another_match_holds_no_user(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.gateway.reserve("other", ("alice",), ttl_seconds=60)
    await world.raw("ZADD", world.keys.reserved(), 1, "alice")
    reply = await world.claim("m1", "alice", "bob")
    assert reply == ClaimOk((ClaimedUser("alice", 1000), ClaimedUser("bob", None)), replay=False)
    assert "reservations" not in (await world.snapshot()).values


async def test_bare_flags_and_our_own_go_and_flags_that_name_a_match_stay(world: World) -> None:
    keys = world.keys
    flags = {
        keys.force_disconnect("alice"): "1",
        keys.skip_in_progress("alice"): "true",
        keys.pre_skip("bob"): "",
        keys.force_disconnect("bob"): "roomkeeper:m0",
        keys.skip_in_progress("bob"): "match:m1",
    }
    for key, value in flags.items():
        await world.raw("SET", key, value)
    await world.claim("m1", "alice", "bob")
    values = (await world.snapshot()).values
    left = {key.removeprefix(keys.prefix) for key in flags} & set(values)
    assert left == {"skip-in-progress:bob"}


async def test_restore_rebuilds_what_the_status_remembers(world: World) -> None:
    reply = await world.claim(
        "m1",
        "alice",
        "bob",
        mode=ClaimMode.RESTORE,
        state=UserState.IN_CALL,
        phase="Active",
        places={"alice": 1000},
    )
    assert reply == ClaimOk((ClaimedUser("alice", 1000), ClaimedUser("bob", None)), replay=False)
    assert (await world.user("alice")).state is UserState.IN_CALL
    assert (await world.ledger("m1")).phase == "Active"


async def test_restore_takes_back_a_user_who_entered_the_queue_after_the_loss(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.reserve("other", ("alice",), ttl_seconds=60)
    await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE, places={"alice": 1000})
    assert (await world.ledger("m1")).queued_at_ms == {"alice": 1000, "bob": None}
    assert "reserved" not in (await world.snapshot()).values


async def test_restore_keeps_the_place_of_a_user_who_first_entered_the_queue_after_the_loss(world: World) -> None:
    place = await world.enqueue("alice")
    await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE)
    assert (await world.ledger("m1")).queued_at_ms["alice"] == place


async def test_restore_goes_on_with_a_call_whose_user_was_banned_meanwhile(world: World) -> None:
    await world.raw("SET", world.keys.blocked("alice"), "abuse")
    assert isinstance(await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE), ClaimOk)


async def test_restore_does_not_take_a_user_from_another_match(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    assert await world.claim("m2", "alice", "carol", mode=ClaimMode.RESTORE) == ClaimBusy("alice", "m1")


@pytest.mark.parametrize("damage", ["evicted", "another type"])
async def test_restore_writes_a_record_again_that_redis_lost_beside_the_ledger(world: World, damage: str) -> None:
    place = await world.enqueue("alice")
    await world.claim("m1", "alice", "bob")
    before = await world.ledger("m1")
    bob = await world.user("bob")
    await world.raw("DEL", world.keys.user("alice"))
    if damage == "another type":
        await world.raw("SET", world.keys.user("alice"), "a string")
    reply = await world.claim(
        "m1", "alice", "bob", mode=ClaimMode.RESTORE, state=UserState.IN_CALL, phase="Active", now_ms=NOW + 9000
    )
    assert reply == ClaimOk((ClaimedUser("alice", place), ClaimedUser("bob", None)), replay=False)
    alice = await world.user("alice")
    assert (alice.state, alice.match, alice.queued_at_ms) == (UserState.IN_CALL, "m1", place)
    assert await world.user("bob") == bob
    assert await world.ledger("m1") == before


async def test_restore_of_a_match_that_lacks_nothing_changes_nothing(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    reply = await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE, now_ms=NOW + 9000)
    assert isinstance(reply, ClaimOk)
    assert reply.replay
    assert await world.snapshot() == before


async def test_restore_lists_a_live_match_again(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    await world.raw("DEL", world.keys.live())
    await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE, now_ms=NOW + 9000)
    assert await world.snapshot() == before


async def test_a_damaged_list_of_live_matches_leaves_no_half_claim(world: World) -> None:
    await world.enqueue("alice")
    await world.raw("SET", world.keys.live(), "a string")
    before = await world.snapshot()
    with pytest.raises(BackendRefused):
        await world.claim("m1", "alice", "bob")
    assert await world.snapshot() == before


async def test_restore_takes_no_user_back_whom_the_match_has_released(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.settle("m1", {"alice": (Destination.IDLE, QueuePlace.ORIGINAL)}, final=False)
    await world.raw("DEL", world.keys.user("bob"))
    await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE)
    assert ((await world.user("alice")).match, (await world.user("bob")).match) == ("", "m1")


async def test_restore_rebuilds_a_ledger_that_is_no_ledger_any_more(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.raw("SET", world.keys.match("m1"), "a string")
    await world.claim("m1", "alice", "bob", mode=ClaimMode.RESTORE, state=UserState.IN_CALL, phase="Active")
    assert (await world.ledger("m1")).phase == "Active"


async def test_a_place_known_from_elsewhere_counts_for_restore_only(world: World) -> None:
    await world.enqueue_at("alice", 5000)
    reply = await world.claim("m1", "alice", "bob", places={"alice": 1, "bob": 2})
    assert reply == ClaimOk((ClaimedUser("alice", 5000), ClaimedUser("bob", None)), replay=False)


async def test_ids_that_look_like_keys_fields_or_globs_are_just_ids(world: World) -> None:
    first, second = "q:*{x}:match:m1 ü", "s:claimed\n"
    place = await world.enqueue(first)
    reply = await world.claim("m1", first, second)
    assert reply == ClaimOk((ClaimedUser(first, place), ClaimedUser(second, None)), replay=False)
    assert (await world.ledger("m1")).queued_at_ms == {first: place, second: None}


def test_a_request_that_makes_no_sense_cannot_be_made() -> None:
    twice = (Claimant("alice"), Claimant("alice"))
    with pytest.raises(ValueError, match="distinct"):
        ClaimRequest("m1", "name", "session", twice)
    with pytest.raises(ValueError, match="UID and a session id"):
        ClaimRequest("m1", "name", "", (Claimant("alice"),))
    with pytest.raises(ValueError, match="cannot be WAITING"):
        ClaimRequest("m1", "name", "session", (Claimant("alice"),), state=UserState.WAITING)
