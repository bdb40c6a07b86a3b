"""enqueue, leave, beat, reserve and release, as gateways and matchmakers call them: by EVALSHA and by FCALL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import (
    Beat,
    Blocked,
    Busy,
    Left,
    NotQueued,
    Queued,
    Replaced,
    ReservedElsewhere,
    ReservedPair,
    Unknown,
    Unserved,
)
from controller.clients.redis.replies.match import ClaimOk
from controller.errors import Invalid
from controller.facts.ledger import Destination
from tests.redis.doors import Door, opened
from tests.redis.servers import Server
from tests.redis.world import World
from tests.support.waiting import eventually

AGAIN = (Destination.WAITING, QueuePlace.NOW)
IDLE = (Destination.IDLE, QueuePlace.ORIGINAL)


@pytest.fixture(params=Door)
async def redis(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client for each way in."""
    async with opened(server.url, request.param) as client:
        yield client


# enqueue


async def test_a_user_who_enters_waits_since_now_by_the_servers_clock(world: World) -> None:
    seconds, micros = await world.raw("TIME")
    reply = await world.gateway.enqueue("alice", session="s1")
    assert isinstance(reply, Queued)
    assert not reply.replay
    assert 0 <= reply.score_ms - (int(seconds) * 1000 + int(micros) // 1000) < 1000
    alice = await world.user("alice")
    assert (alice.state, alice.session) == (UserState.WAITING, "s1")
    assert alice.since_ms == alice.queued_at_ms == reply.score_ms
    assert await world.queue() == {"alice": reply.score_ms}


async def test_a_user_who_waits_already_keeps_the_place(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    before = (await world.snapshot()).without("heartbeats")
    assert await world.gateway.enqueue("alice") == Queued(1000, replay=True)
    assert (await world.snapshot()).without("heartbeats") == before


@pytest.mark.parametrize(
    "user_id",
    [
        "x" * 256,
        "ä" * 128,
        "alice@example.com",
        "a b",
        "\u00a0",
        "日本",
        "\u20ac\u0410",
        "\u07ff\u0800\uffff\U00010000\U0010ffff",
    ],
)
async def test_every_id_that_a_match_can_carry_may_wait(world: World, user_id: str) -> None:
    assert isinstance(await world.gateway.enqueue(user_id), Queued)
    assert list(await world.queue()) == [user_id]


@pytest.mark.parametrize(
    "user_id", ["", "x" * 257, "ä" * 129, "bell\x07", "nul\0", "\x1f", "\x7f", "a\u0080", "\u0085b", "\u009f"]
)
async def test_an_id_that_no_match_can_carry_does_not_wait(world: World, user_id: str) -> None:
    before = await world.snapshot()
    with pytest.raises(Invalid, match="expected an id that a Match can carry: 1 to 256 bytes"):
        await world.gateway.enqueue(user_id)
    assert await world.snapshot() == before


@pytest.mark.parametrize(
    "user_id",
    [
        pytest.param(b"caf\xe9", id="Latin-1"),
        pytest.param(b"\xc3", id="a lead without its continuation"),
        pytest.param(b"\x80alice", id="a continuation without its lead"),
        pytest.param(b"\xc0\xaf", id="overlong"),
        pytest.param(b"\xe0\x80\x80", id="overlong in three bytes"),
        pytest.param(b"\xed\xa0\x80", id="a surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="above U+10FFFF"),
        pytest.param(b"\xe2\xc3\xa9\x82\xac", id="a character inside another"),
    ],
)
async def test_an_id_that_is_not_utf8_does_not_wait(world: World, user_id: bytes) -> None:
    before, keys = await world.snapshot(), world.keys
    of_user = (keys.user("x"), keys.blocked("x"), keys.notify("x"))
    names = (keys.queue(), keys.reservations(), keys.heartbeats(), keys.served(), *of_user, keys.events())
    word, sentence = await world.redis.run(lua.ENQUEUE, names, cast("list[str]", [user_id, ""]))
    assert (word, sentence[:76]) == (
        "INVALID",
        "expected an id that a Match can carry: 1 to 256 bytes of UTF-8, without cont",
    )
    assert await world.snapshot() == before


async def test_the_newest_session_speaks_for_a_user_who_waits(world: World) -> None:
    await world.gateway.enqueue("alice", session="old")
    before = await world.user("alice")
    reply = await world.gateway.enqueue("alice", session="new")
    assert isinstance(reply, Queued)
    assert reply.replay
    alice = await world.user("alice")
    assert (alice.session, alice.seq, alice.epoch) == ("new", before.seq + 1, before.epoch)


async def test_a_reserved_user_who_enters_keeps_the_place_and_the_reservation(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.gateway.reserve("m", ("alice",), ttl_seconds=60)
    before = (await world.snapshot()).without("heartbeats")
    assert await world.gateway.enqueue("alice") == Queued(1000, replay=True)
    assert (await world.snapshot()).without("heartbeats") == before


async def test_a_user_in_a_match_cannot_enter(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    assert await world.gateway.enqueue("alice", session="x") == Busy("m1")
    assert await world.snapshot() == before


async def test_a_banned_user_cannot_enter(world: World) -> None:
    await world.raw("SET", world.keys.blocked("alice"), "abuse")
    before = await world.snapshot()
    assert await world.gateway.enqueue("alice") == Blocked("alice")
    assert await world.snapshot() == before


async def test_a_user_who_enters_after_a_call_no_longer_expires_and_no_longer_sees_its_reason(
    world: World,
) -> None:
    await world.claim("m1", "alice", "bob")
    await world.settle("m1", {"alice": IDLE, "bob": IDLE})
    await world.gateway.enqueue("alice")
    assert "user:alice" not in (await world.snapshot()).expiring
    assert (await world.user("alice")).reason == ""


async def test_a_user_in_the_queue_whose_record_is_gone_gets_it_back(
    world: World,
) -> None:
    await world.enqueue_at("alice", 1000)
    await world.raw("DEL", world.keys.user("alice"))
    assert await world.gateway.enqueue("alice") == Queued(1000, replay=True)
    assert (await world.user("alice")).queued_at_ms == 1000


async def test_entering_counts_as_a_beat_also_for_a_user_who_waits_already(world: World) -> None:
    for _ in range(2):
        earliest = await server_ms(world)
        await world.gateway.enqueue("alice")
        assert earliest <= int((await world.snapshot()).values["heartbeats"]["alice"]) <= await server_ms(world)


async def server_ms(world: World) -> int:
    seconds, micros = await world.raw("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def test_nobody_waits_in_a_pool_that_no_operator_serves(world: World) -> None:
    await world.raw("DEL", world.keys.served())
    before = await world.snapshot()
    assert await world.gateway.enqueue("alice") == Unserved()
    assert await world.snapshot() == before
    await world.serve()
    assert isinstance(await world.gateway.enqueue("alice"), Queued)


async def test_a_pool_that_was_served_is_served_for_some_minutes_without_the_operator(world: World) -> None:
    await world.serve()
    assert 240_000 < await world.raw("PTTL", world.keys.served()) <= 300_000
    served = (await world.snapshot()).values["served"]
    assert served == {"version": "1.0", "heartbeatSeconds": "30", "namespace": world.keys.namespace}


async def test_what_is_left_of_a_pool_that_is_no_longer_served_expires(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    for stream in (world.keys.signals(), world.keys.webhooks(0), world.keys.disconnects()):
        await world.raw("XADD", stream, "*", "a", "b")
    await world.raw("SET", world.keys.signals_done(), "1-0")
    await world.serve()
    kept = await world.raw("KEYS", f"*{{test:{world.keys.namespace}}}*")
    assert len(kept) >= 8
    assert [key for key in kept if await world.raw("PTTL", key) < 0] == []


# leave


async def test_a_user_who_leaves_is_idle_and_expires(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.beat("alice")
    assert await world.gateway.leave("alice", idle_seconds=60) == Left(replay=False)
    snapshot = await world.snapshot()
    assert (await world.user("alice")).state is UserState.IDLE
    assert "user:alice" in snapshot.expiring
    assert not {"queue", "heartbeats"} & set(snapshot.values)
    assert 50_000 < await world.raw("PTTL", world.keys.user("alice")) <= 60_000


async def test_leaving_twice_is_a_replay(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    before = await world.snapshot()
    assert await world.gateway.leave("alice") == Left(replay=True)
    assert await world.gateway.leave("never-seen") == Left(replay=True)
    assert await world.snapshot() == before


async def test_leaving_gives_up_a_reservation(world: World) -> None:
    await world.enqueue("alice")
    await world.enqueue("bob")
    await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60)
    await world.gateway.leave("alice")
    values = (await world.snapshot()).values
    assert set(values["reserved"]) == set(values["reservations"]) == {"bob"}


async def test_a_user_in_a_match_cannot_leave_the_queue(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    assert await world.gateway.leave("alice") == Busy("m1")
    assert await world.snapshot() == before


async def test_the_goodbye_of_a_replaced_session_does_not_count(world: World) -> None:
    await world.gateway.enqueue("alice", session="old")
    await world.gateway.enqueue("alice", session="new")
    before = await world.snapshot()
    assert await world.gateway.leave("alice", session="old") == Replaced()
    assert await world.snapshot() == before
    assert await world.gateway.leave("alice", session="new") == Left(replay=False)


# beat


async def test_a_beat_is_noted_and_answers_the_state(world: World) -> None:
    await world.enqueue("alice")
    assert await world.gateway.beat("alice") == Beat(UserState.WAITING, "", "", "", "", 1)
    seconds, _ = await world.raw("TIME")
    beat = int((await world.snapshot()).values["heartbeats"]["alice"])
    assert abs(beat - int(seconds) * 1000) < 2000


async def test_a_beat_answers_the_match_and_later_why_it_ended(world: World) -> None:
    await world.enqueue("alice")
    await world.claim("m1", "alice", "bob", room="rk-1")
    beat = await world.gateway.beat("alice")
    assert beat == Beat(UserState.CONNECTING, "m1", "name-m1", "rk-1", "", 2)
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE})
    assert await world.gateway.beat("alice") == Beat(UserState.WAITING, "", "", "", "Skipped", 3)
    assert await world.gateway.beat("bob") == Beat(UserState.IDLE, "", "", "", "Skipped", 2)


async def test_a_beat_of_an_unknown_user_says_so_and_writes_nothing(world: World) -> None:
    before = await world.snapshot()
    assert await world.gateway.beat("alice", session="s", take=True) == Unknown()
    assert await world.snapshot() == before


async def test_a_beat_of_an_idle_user_is_not_noted(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.leave("alice")
    assert isinstance(await world.gateway.beat("alice"), Beat)
    assert "heartbeats" not in (await world.snapshot()).values


async def test_a_replaced_session_does_not_make_its_successor_look_alive(world: World) -> None:
    await world.gateway.enqueue("alice", session="old")
    await world.gateway.enqueue("alice", session="new")
    before = await world.snapshot()
    assert await world.gateway.beat("alice", session="old") == Replaced()
    assert await world.snapshot() == before


async def test_a_new_connection_takes_over_with_its_first_beat_also_in_a_call(world: World) -> None:
    await world.gateway.enqueue("alice", session="old")
    await world.claim("m1", "alice", "bob")
    before = await world.user("alice")
    taken = await world.gateway.beat("alice", session="new", take=True)
    assert isinstance(taken, Beat)
    assert taken.seq == before.seq + 1
    assert await world.gateway.beat("alice", session="old") == Replaced()
    assert await world.gateway.beat("alice", session="new") == taken
    assert await world.gateway.beat("alice") == taken


async def test_the_first_session_that_beats_speaks_for_a_user_without_one(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    assert isinstance(await world.gateway.beat("alice", session="s1"), Beat)
    assert (await world.user("alice")).session == "s1"
    assert await world.gateway.beat("alice", session="s2") == Replaced()


# reserve and release


async def test_a_pair_is_reserved_and_stays_waiting(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.enqueue_at("bob", 2000)
    seconds, _ = await world.raw("TIME")
    reply = await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60)
    assert reply == ReservedPair((("alice", 1000), ("bob", 2000)), replay=False)
    assert await world.queue() == {}
    assert (await world.user("alice")).state is UserState.WAITING
    deadlines = (await world.snapshot()).values["reserved"]
    assert set(deadlines) == {"alice", "bob"}
    assert abs(int(deadlines["alice"]) - int(seconds) * 1000 - 60_000) < 2000


async def test_reserving_again_for_the_same_match_is_a_replay(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.enqueue_at("bob", 2000)
    await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60)
    before = await world.snapshot()
    reply = await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=90)
    assert reply == ReservedPair((("alice", 1000), ("bob", 2000)), replay=True)
    assert await world.snapshot() == before


async def test_all_or_none_are_reserved(world: World) -> None:
    await world.enqueue("alice")
    before = await world.snapshot()
    assert await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60) == NotQueued("bob")
    await world.claim("m1", "bob", "carol")
    assert await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60) == NotQueued("bob")
    assert (await world.snapshot()).values["queue"] == before.values["queue"]
    assert "reserved" not in (await world.snapshot()).values


async def test_two_matchmakers_do_not_reserve_the_same_user(world: World) -> None:
    for user_id in ("alice", "bob", "carol"):
        await world.enqueue(user_id)
    await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60)
    before = await world.snapshot()
    reply = await world.gateway.reserve("other", ("carol", "bob"), ttl_seconds=60)
    assert reply == ReservedElsewhere("bob", "m")
    assert await world.snapshot() == before


async def test_a_banned_user_is_not_reserved(world: World) -> None:
    await world.enqueue("alice")
    await world.enqueue("bob")
    await world.raw("SET", world.keys.blocked("bob"), "abuse")
    before = await world.snapshot()
    assert await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60) == Blocked("bob")
    assert await world.snapshot() == before


async def test_an_expired_reservation_returns_all_users_to_their_places(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.enqueue_at("bob", 2000)
    await world.enqueue_at("carol", 1500)
    await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=0.001)
    await world.gateway.reserve("n", ("carol",), ttl_seconds=60)
    released: set[str] = set()

    async def all_are_back() -> None:
        released.update(await world.gateway.release_expired())
        assert released == {"alice", "bob"}

    await eventually(all_are_back)
    assert await world.gateway.release_expired() == ()
    assert await world.queue() == {"alice": 1000, "bob": 2000}
    values = (await world.snapshot()).values
    assert set(values["reserved"]) == set(values["reservations"]) == {"carol"}


async def test_releasing_is_bounded(world: World) -> None:
    ids = tuple(f"user-{n}" for n in range(5))
    for user_id in ids:
        await world.enqueue(user_id)
    await world.gateway.reserve("m", ids, ttl_seconds=60)
    for user_id in ids:
        await world.raw("ZADD", world.keys.reserved(), 1, user_id)
    assert len(await world.gateway.release_expired(limit=3)) == 3
    assert len(await world.gateway.release_expired(limit=3)) == 2


async def test_an_expired_reservation_can_be_taken_over_before_it_is_released(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.gateway.reserve("m", ("alice",), ttl_seconds=60)
    await world.raw("ZADD", world.keys.reserved(), 1, "alice")
    reply = await world.gateway.reserve("other", ("alice",), ttl_seconds=60)
    assert reply == ReservedPair((("alice", 1000),), replay=False)
    assert await world.gateway.release_expired() == ()
    assert isinstance(await world.claim("m1", "alice", "bob", match_name="other"), ClaimOk)


async def test_a_reservation_whose_place_is_lost_still_brings_the_user_back(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.reserve("m", ("alice",), ttl_seconds=60)
    await world.raw("ZADD", world.keys.reserved(), 1, "alice")
    await world.raw("DEL", world.keys.reservations())
    assert await world.gateway.release_expired() == ("alice",)
    assert set(await world.queue()) == {"alice"}


async def test_a_wrong_call_through_the_typed_client_raises_invalid(world: World) -> None:
    with pytest.raises(Invalid, match="expected an id that a Match can carry"):
        await world.gateway.enqueue("")
