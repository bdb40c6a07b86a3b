"""settle: each user is released exactly once, to the right place, and the first cause of the end stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.replies.match import ClaimNotQueued, ClaimOk, Incomplete, SettleOk
from controller.clients.redis.replies.refusals import Lost, Stale, Unclaimed
from controller.clients.redis.requests import AdvanceRequest, ClaimMode, SettleRequest
from controller.errors import BackendRefused
from controller.facts.ledger import Cause, Destination, End, Release, SettledUser
from tests.redis.world import NOW, World

BACK = (Destination.BACK, QueuePlace.ORIGINAL)
BACK_NOW = (Destination.BACK, QueuePlace.NOW)
IDLE = (Destination.IDLE, QueuePlace.ORIGINAL)
ORIG = (Destination.WAITING, QueuePlace.ORIGINAL)
AGAIN = (Destination.WAITING, QueuePlace.NOW)
SKIPPED = Cause("Skipped", "alice", "alice skipped", "{}")


async def call(world: World) -> None:
    """alice waited since 1000, bob since 2000; the Match m1 holds both."""
    await world.enqueue_at("alice", 1000)
    await world.enqueue_at("bob", 2000)
    await world.claim("m1", "alice", "bob", room="rk-1", url="wss://example.org")


@pytest.mark.parametrize("choice", [BACK, BACK_NOW, ORIG])
async def test_who_had_no_call_gets_the_original_place_back(
    world: World, choice: tuple[Destination, QueuePlace]
) -> None:
    await call(world)
    outcomes = await world.settled("m1", {"alice": choice, "bob": choice})
    assert outcomes["alice"] == SettledUser("alice", Destination.WAITING, 1000)
    assert await world.queue() == {"alice": 1000, "bob": 2000}


async def test_a_user_who_waits_again_goes_to_the_end_of_the_queue_by_the_servers_clock(world: World) -> None:
    await call(world)
    earlier = await world.enqueue("carol")
    outcomes = await world.settled("m1", {"alice": AGAIN, "bob": ORIG}, now_ms=NOW)
    later = await world.enqueue("dan")
    score = outcomes["alice"].score_ms
    assert score is not None
    assert earlier <= score <= later
    assert (await world.queue())["alice"] == score
    assert (await world.user("alice")).queued_at_ms == score


async def test_a_damaged_key_of_partners_costs_no_user_the_place(world: World) -> None:
    await call(world)
    await world.raw("SET", world.keys.recent("alice"), "a string")
    with pytest.raises(BackendRefused):
        await world.settle("m1", {"alice": ORIG, "bob": ORIG})
    outcomes = await world.settled("m1", {"alice": ORIG, "bob": ORIG})
    assert [outcomes[user].outcome for user in ("alice", "bob")] == [Destination.WAITING] * 2
    assert await world.queue() == {"alice": 1000, "bob": 2000}


async def test_a_match_that_took_no_user_puts_those_who_were_reserved_for_it_back_at_once(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.enqueue_at("bob", 2000)
    await world.gateway.reserve("name-m1", ("alice", "bob"), ttl_seconds=60)
    await world.gateway.leave("alice")
    assert await world.claim("m1", "alice", "bob", mode=ClaimMode.QUEUED) == ClaimNotQueued("alice")
    await world.settle("m1", {"alice": BACK, "bob": BACK}, cause=Cause("Failed"))
    assert await world.queue() == {"bob": 2000}
    values = (await world.snapshot()).values
    assert not {"reserved", "reservations"} & set(values)
    assert values["user:bob"]["state"] == UserState.WAITING


async def test_the_end_of_a_match_leaves_reservations_for_others_alone(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.gateway.reserve("another", ("alice",), ttl_seconds=60)
    await world.settle("m1", {"alice": BACK, "bob": BACK}, cause=Cause("Failed"))
    assert await world.queue() == {}
    assert (await world.snapshot()).values["reservations"] == {"alice": "1000 another"}


async def test_without_a_ledger_the_records_of_users_tell_whom_the_match_holds_and_from_where(world: World) -> None:
    await call(world)
    await world.claim("m2", "carol", "dan")
    await world.raw("DEL", world.keys.match("m1"))
    held_by_another = (await world.snapshot()).values["user:carol"]
    for _ in range(2):
        outcomes = await world.settled("m1", {"alice": ORIG, "bob": IDLE, "carol": ORIG})
        assert outcomes == {
            "alice": SettledUser("alice", Destination.WAITING, 1000),
            "bob": SettledUser("bob", Destination.IDLE),
            "carol": SettledUser("carol", Destination.LOST),
        }
    assert await world.queue() == {"alice": 1000}
    values = (await world.snapshot()).values
    assert (values["user:carol"], set(values["live"])) == (held_by_another, {"m2"})


@pytest.mark.parametrize("choice", [BACK, ORIG, AGAIN, IDLE])
async def test_who_never_came_from_the_queue_becomes_idle(world: World, choice: tuple[Destination, QueuePlace]) -> None:
    await world.claim("m1", "alice", "bob")
    outcomes = await world.settled("m1", {"alice": choice, "bob": choice})
    assert outcomes == {user_id: SettledUser(user_id, Destination.IDLE) for user_id in ("alice", "bob")}
    assert await world.queue() == {}


async def test_an_idle_user_expires_and_is_watched_no_more(world: World) -> None:
    await call(world)
    await world.gateway.beat("alice")
    await world.gateway.beat("bob")
    await world.settle("m1", {"alice": IDLE, "bob": ORIG})
    snapshot = await world.snapshot()
    assert "user:alice" in snapshot.expiring
    assert "user:bob" not in snapshot.expiring
    assert set(snapshot.values["heartbeats"]) == {"bob"}


async def test_a_banned_user_is_never_requeued(world: World) -> None:
    await call(world)
    await world.raw("SET", world.keys.blocked("alice"), "abuse")
    outcomes = await world.settled("m1", {"alice": AGAIN, "bob": BACK})
    assert outcomes["alice"] == SettledUser("alice", Destination.IDLE, None, "Blocked")
    assert outcomes["bob"].detail == ""
    assert await world.queue() == {"bob": 2000}


async def test_a_ban_is_no_detail_of_a_user_who_was_to_be_idle_anyway(world: World) -> None:
    await call(world)
    await world.raw("SET", world.keys.blocked("alice"), "abuse")
    assert (await world.settled("m1", {"alice": IDLE, "bob": BACK}))["alice"].detail == ""


async def test_a_settled_user_carries_nothing_of_the_match_but_the_reason(world: World) -> None:
    await call(world)
    before = await world.user("alice")
    await world.settle("m1", {"alice": ORIG, "bob": IDLE}, now_ms=NOW + 9)
    alice, bob = await world.user("alice"), await world.user("bob")
    for user in (alice, bob):
        assert (user.match, user.match_name, user.room, user.url, user.session_id) == ("", "", "", "", "")
        assert (user.reason, user.since_ms) == ("Skipped", NOW + 9)
    assert (alice.state, alice.queued_at_ms) == (UserState.WAITING, 1000)
    assert (bob.state, bob.queued_at_ms) == (UserState.IDLE, None)
    assert (alice.epoch, alice.seq) == (before.epoch + 1, before.seq + 1)


async def test_a_final_settle_closes_the_ledger_and_gives_it_a_ttl_of_a_day(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": BACK, "bob": BACK}, now_ms=NOW + 9)
    ledger = await world.ledger("m1")
    assert ledger.settled
    assert ledger.settled_at_ms == NOW + 9
    assert set(ledger.outcomes) == {"alice", "bob"}
    assert ledger.end == End(SKIPPED, NOW + 9)
    assert await world.pool.live() == ()
    assert {"match:m1", "session:session-m1"} <= (await world.snapshot()).expiring
    day_ms = 24 * 3600 * 1000
    assert day_ms - 60_000 < await world.raw("PTTL", world.keys.match("m1")) <= day_ms
    assert day_ms - 60_000 < await world.raw("PTTL", world.keys.session("session-m1")) <= day_ms


async def test_a_session_id_that_a_later_match_took_over_stays_with_it(world: World) -> None:
    await call(world)
    await world.raw("SET", world.keys.session("session-m1"), "m2")
    await world.settle("m1", {"alice": BACK, "bob": BACK})
    assert await world.raw("TTL", world.keys.session("session-m1")) == -1


async def test_a_repeated_settle_is_a_replay_whatever_it_says(world: World) -> None:
    await call(world)
    first = await world.settle("m1", {"alice": AGAIN, "bob": IDLE})
    after = await world.snapshot()
    assert isinstance(first, SettleOk)
    assert not first.replay
    again = await world.settle("m1", {"alice": IDLE, "bob": AGAIN}, cause=Cause("Deleted", "", "", ""), now_ms=NOW + 99)
    assert again == replace(first, replay=True)
    assert await world.snapshot() == after


async def test_a_replay_does_not_touch_a_user_who_is_in_the_next_call(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE})
    assert isinstance(await world.claim("m2", "alice", "carol"), ClaimOk)
    before = await world.snapshot()
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE})
    assert await world.snapshot() == before


async def test_a_partial_settle_lets_go_of_one_and_the_match_lives_on(world: World) -> None:
    await call(world)
    no_cause = Cause()
    reply = await world.settle("m1", {"alice": ORIG}, final=False, cause=no_cause)
    assert reply == SettleOk((SettledUser("alice", Destination.WAITING, 1000),), None, replay=False)
    assert isinstance(await world.settle("m1", {"alice": IDLE}, final=False, cause=no_cause), SettleOk)
    assert (await world.user("bob")).match == "m1"
    ledger = await world.ledger("m1")
    assert not ledger.settled
    assert set(ledger.outcomes) == {"alice"}
    assert [match.uid for match in await world.pool.live()] == ["m1"]
    assert "match:m1" not in (await world.snapshot()).expiring


async def test_who_was_let_go_by_a_partial_settle_may_enter_another_match_and_stays_there(
    world: World,
) -> None:
    await call(world)
    await world.settle("m1", {"alice": ORIG}, final=False)
    await world.claim("m2", "alice", "carol")
    outcomes = await world.settled("m1", {"alice": AGAIN, "bob": BACK})
    assert outcomes["alice"] == SettledUser("alice", Destination.WAITING, 1000)
    assert (await world.user("alice")).match == "m2"
    assert await world.queue() == {"bob": 2000}


async def test_a_final_settle_must_name_all_users_whom_the_match_still_holds(world: World) -> None:
    await call(world)
    before = await world.snapshot()
    assert await world.settle("m1", {"alice": BACK}) == Incomplete("bob")
    assert await world.snapshot() == before


async def test_a_final_settle_need_not_name_a_settled_user(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": BACK}, final=False)
    outcomes = await world.settled("m1", {"bob": BACK})
    assert outcomes == {"bob": SettledUser("bob", Destination.WAITING, 2000)}
    assert (await world.ledger("m1")).settled


async def test_the_first_cause_stays_and_later_ones_learn_it(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": ORIG}, final=False, cause=SKIPPED, now_ms=NOW + 1)
    reply = await world.settle("m1", {"bob": BACK}, cause=Cause("Deleted", "kubectl"), now_ms=NOW + 2)
    assert isinstance(reply, SettleOk)
    assert reply.end == End(SKIPPED, NOW + 1)
    assert (await world.ledger("m1")).end == End(SKIPPED, NOW + 1)
    assert (await world.user("bob")).reason == "Skipped"


def record(cause: Cause, *, replaces: str = "") -> SettleRequest:
    """The cause of the end, before any user is released."""
    return SettleRequest("m1", "session-m1", (), cause, final=False, replaces=replaces)


async def test_a_cause_that_is_named_to_be_replaced_gives_way_once(world: World) -> None:
    await call(world)
    left = Cause("Left", "bob", "bob left", "{}")
    await world.pool.settle(record(left), now_ms=NOW + 1)
    for replay in (False, True):
        reply = await world.pool.settle(record(SKIPPED, replaces="Left"), now_ms=NOW + 2 + replay)
        assert reply == SettleOk((), End(SKIPPED, NOW + 2), replay=replay)
    reply = await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, cause=left)
    assert isinstance(reply, SettleOk)
    assert reply.end == End(SKIPPED, NOW + 2)
    assert (await world.user("bob")).reason == "Skipped"


async def test_another_cause_than_the_one_to_be_replaced_stays(world: World) -> None:
    await call(world)
    lost = Cause("NetworkLost", "", "bob lost the connection", "{}")
    await world.pool.settle(record(lost), now_ms=NOW + 1)
    reply = await world.pool.settle(record(SKIPPED, replaces="Left"), now_ms=NOW + 2)
    assert reply == SettleOk((), End(lost, NOW + 1), replay=True)


async def test_a_cause_is_stored_also_where_the_one_to_be_replaced_never_came(world: World) -> None:
    await call(world)
    reply = await world.pool.settle(record(SKIPPED, replaces="Left"), now_ms=NOW + 2)
    assert reply == SettleOk((), End(SKIPPED, NOW + 2), replay=False)


async def test_once_all_users_are_released_no_cause_is_replaced(world: World) -> None:
    await call(world)
    left = Cause("Left", "bob", "bob left", "{}")
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, cause=left, now_ms=NOW + 1)
    reply = await world.pool.settle(record(SKIPPED, replaces="Left"), now_ms=NOW + 2)
    assert isinstance(reply, SettleOk)
    assert (reply.end, reply.replay) == (End(left, NOW + 1), True)


async def test_a_settle_that_replaces_the_cause_lets_go_with_the_new_one(world: World) -> None:
    await call(world)
    await world.pool.settle(record(Cause("Left", "bob", "bob left", "{}")), now_ms=NOW + 1)
    both = tuple(Release(who, Destination.WAITING, QueuePlace.NOW) for who in ("alice", "bob"))
    request = SettleRequest("m1", "session-m1", both, SKIPPED, replaces="Left")
    await world.pool.settle(request, now_ms=NOW + 2)
    assert {(await world.user(who)).reason for who in ("alice", "bob")} == {"Skipped"}


async def test_a_partial_settle_without_a_reason_leaves_the_cause_open(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": ORIG}, final=False, cause=Cause())
    reply = await world.settle("m1", {"bob": BACK}, cause=SKIPPED, now_ms=NOW + 2)
    assert isinstance(reply, SettleOk)
    assert reply.end == End(SKIPPED, NOW + 2)


async def test_details_are_kept_with_the_outcomes(world: World) -> None:
    await call(world)
    users = (
        Release("alice", Destination.WAITING, QueuePlace.ORIGINAL),
        Release("bob", Destination.IDLE, detail="NeverSeen"),
    )
    request = SettleRequest("m1", "session-m1", users, Cause("NoShow"))
    for _ in range(2):
        reply = await world.pool.settle(request, now_ms=NOW)
        assert isinstance(reply, SettleOk)
        assert {user.id: user.detail for user in reply.users} == {"alice": "", "bob": "NeverSeen"}
    assert (await world.ledger("m1")).outcomes["bob"].detail == "NeverSeen"


async def test_a_user_whom_another_match_holds_is_lost_to_this_one(world: World) -> None:
    await call(world)
    await world.raw("HSET", world.keys.user("alice"), "match", "m2")
    before = await world.user("alice")
    outcomes = await world.settled("m1", {"alice": AGAIN, "bob": BACK})
    assert outcomes["alice"] == SettledUser("alice", Destination.LOST)
    assert await world.user("alice") == before
    assert await world.queue() == {"bob": 2000}


async def test_a_user_of_another_match_is_lost_and_not_written_down(world: World) -> None:
    await call(world)
    outcomes = await world.settled("m1", {"alice": BACK, "bob": BACK, "zed": AGAIN})
    assert outcomes["zed"] == SettledUser("zed", Destination.LOST)
    assert set((await world.ledger("m1")).outcomes) == {"alice", "bob"}
    assert "user:zed" not in (await world.snapshot()).values


async def test_only_a_final_settle_may_meet_a_match_without_a_claim(world: World) -> None:
    before = await world.snapshot()
    assert await world.settle("m1", {"alice": BACK}, final=False) == Unclaimed()
    assert await world.snapshot() == before


async def test_a_final_settle_of_a_match_without_a_claim_leaves_a_tombstone(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    users = await world.snapshot()
    reply = await world.settle("m1", {"alice": AGAIN, "bob": IDLE})
    lost = (SettledUser("alice", Destination.LOST), SettledUser("bob", Destination.LOST))
    assert reply == SettleOk(lost, End(SKIPPED, NOW), replay=False)
    again = await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, cause=Cause("Deleted"))
    assert again == SettleOk(lost, End(SKIPPED, NOW), replay=True)
    ledger = await world.ledger("m1")
    assert ledger.settled
    assert not ledger.claimed
    snapshot = await world.snapshot()
    assert "match:m1" in snapshot.expiring
    assert snapshot.without("match:m1") == users


async def test_should_there_be_an_entry_in_the_queue_already_the_earlier_place_wins(world: World) -> None:
    await call(world)
    await world.raw("ZADD", world.keys.queue(), 500, "alice", 9000, "bob")
    outcomes = await world.settled("m1", {"alice": BACK, "bob": BACK})
    assert (outcomes["alice"].score_ms, outcomes["bob"].score_ms) == (500, 2000)
    assert await world.queue() == {"alice": 500, "bob": 2000}
    assert (await world.user("alice")).queued_at_ms == 500


async def test_partners_are_remembered_for_ten_minutes(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, now_ms=NOW + 5)
    snapshot = await world.snapshot()
    assert snapshot.values["recent:alice"] == {"bob": str(NOW + 5)}
    assert snapshot.values["recent:bob"] == {"alice": str(NOW + 5)}
    assert 590_000 < await world.raw("PTTL", world.keys.recent("alice")) <= 600_000


async def test_a_rollback_was_no_meeting(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": BACK, "bob": BACK})
    assert not [key for key in (await world.snapshot()).values if key.startswith("recent:")]


async def test_the_last_twenty_partners_are_remembered(world: World) -> None:
    older = [part for n in range(20) for part in (NOW - 100 + n, f"partner-{n}")]
    await world.raw("ZADD", world.keys.recent("alice"), *older)
    await call(world)
    await world.settle("m1", {"alice": AGAIN, "bob": AGAIN})
    recent = (await world.snapshot()).values["recent:alice"]
    assert set(recent) == {f"partner-{n}" for n in range(1, 20)} | {"bob"}


async def test_old_partners_are_removed_also_for_a_user_who_talks_all_the_time(world: World) -> None:
    met = {"long-ago": NOW - 600_001, "a-while-ago": NOW - 599_000}
    await world.raw("ZADD", world.keys.recent("alice"), *(word for who, at in met.items() for word in (at, who)))
    await call(world)
    await world.settle("m1", {"alice": AGAIN, "bob": AGAIN})
    assert set((await world.snapshot()).values["recent:alice"]) == {"a-while-ago", "bob"}


async def test_bare_flags_go_and_flags_that_name_a_match_and_our_own_stay(world: World) -> None:
    await call(world)
    keys = world.keys
    await world.raw("SET", keys.pre_skip("alice"), "1")
    await world.raw("SET", keys.skip_in_progress("alice"), "match:m1")
    await world.raw("SET", keys.force_disconnect("bob"), "roomkeeper:m1")
    await world.settle("m1", {"alice": AGAIN, "bob": AGAIN})
    values = (await world.snapshot()).values
    assert "pre-skip:alice" not in values
    assert {"skip-in-progress:alice", "force-disconnect:bob"} <= set(values)


async def test_a_late_skip_does_not_survive_into_the_next_call(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": AGAIN, "bob": AGAIN})
    await world.raw("SET", world.keys.skip_in_progress("alice"), "1")
    await world.claim("m2", "alice", "carol")
    assert "skip-in-progress:alice" not in (await world.snapshot()).values


async def test_an_owner_that_is_out_of_date_settles_no_user(world: World) -> None:
    await call(world)
    before = await world.snapshot()
    users = {"alice": AGAIN, "bob": AGAIN}
    assert await world.other_owner(epoch=0).settle("m1", users) == Stale(1)
    assert await world.other_owner(incarnation="another").settle("m1", users) == Lost()
    assert await world.snapshot() == before


async def test_users_settle_from_every_state_of_a_call(world: World) -> None:
    for uid, state in (("m1", UserState.CONNECTING), ("m2", UserState.IN_CALL), ("m3", UserState.DISCONNECTING)):
        ids = (f"{uid}-a", f"{uid}-b")
        await world.claim(uid, *ids)
        await world.pool.advance(AdvanceRequest(uid, tuple((user_id, state) for user_id in ids)), now_ms=NOW)
        await world.settle(uid, dict.fromkeys(ids, IDLE))
        assert {(await world.user(user_id)).state for user_id in ids} == {UserState.IDLE}
