"""advance: users move forward only, and learn where their room is."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.replies.match import AdvanceOk, Step
from controller.clients.redis.replies.refusals import Lost, Settled, Stale, Unclaimed
from controller.clients.redis.requests import AdvanceRequest
from controller.facts.ledger import AloneTime, Destination
from tests.redis.world import NOW, World

BACK = (Destination.BACK, QueuePlace.ORIGINAL)
BOTH = ("alice", "bob")


def request(state: UserState, *, uid: str = "m1", **fields: Any) -> AdvanceRequest:
    return AdvanceRequest(uid, tuple((user_id, state) for user_id in BOTH), **fields)


def steps(step: Step) -> AdvanceOk:
    return AdvanceOk(tuple((user_id, step) for user_id in BOTH))


async def test_users_move_up_and_the_phase_follows(world: World) -> None:
    await world.claim("m1", *BOTH)
    before = await world.user("alice")
    reply = await world.pool.advance(request(UserState.IN_CALL, phase="Active"), now_ms=NOW + 7)
    assert reply == steps(Step.CHANGED)
    alice = await world.user("alice")
    assert (alice.state, alice.since_ms) == (UserState.IN_CALL, NOW + 7)
    assert (alice.epoch, alice.seq) == (before.epoch + 1, before.seq + 1)
    assert (await world.ledger("m1")).phase == "Active"


async def test_a_repeated_advance_changes_nothing(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.pool.advance(request(UserState.IN_CALL, phase="Active", room="r", url="u"), now_ms=NOW)
    before = await world.snapshot()
    again = await world.pool.advance(request(UserState.IN_CALL, phase="Active", room="r", url="u"), now_ms=NOW + 1)
    assert again == steps(Step.SAME)
    assert await world.snapshot() == before


@pytest.mark.parametrize(
    ("current", "asked"),
    [
        (UserState.IN_CALL, UserState.CONNECTING),
        (UserState.DISCONNECTING, UserState.IN_CALL),
        (UserState.DISCONNECTING, UserState.CONNECTING),
        (UserState.CONNECTING, UserState.WAITING),
        (UserState.IN_CALL, UserState.IDLE),
    ],
)
async def test_no_user_moves_down(world: World, current: UserState, asked: UserState) -> None:
    await world.claim("m1", *BOTH, state=current)
    before = await world.snapshot()
    assert await world.pool.advance(request(asked), now_ms=NOW + 1) == steps(Step.SAME)
    assert await world.snapshot() == before


async def test_room_url_and_session_are_published_without_a_change_of_state(world: World) -> None:
    await world.claim("m1", *BOTH)
    before = await world.user("bob")
    published = request(UserState.CONNECTING, room="rk-1", url="wss://example.org", session_id="s-1")
    assert await world.pool.advance(published, now_ms=NOW + 1) == steps(Step.SAME)
    bob = await world.user("bob")
    assert (bob.room, bob.url, bob.session_id) == ("rk-1", "wss://example.org", "s-1")
    assert (bob.state, bob.since_ms, bob.epoch) == (before.state, before.since_ms, before.epoch)
    assert bob.seq == before.seq + 1


async def test_what_is_not_given_stays_published(world: World) -> None:
    await world.claim("m1", *BOTH, phase="Creating", room="rk-1", url="wss://example.org")
    await world.pool.advance(request(UserState.IN_CALL), now_ms=NOW)
    alice = await world.user("alice")
    assert (alice.room, alice.url, alice.session_id) == ("rk-1", "wss://example.org", "session-m1")
    assert (await world.ledger("m1")).phase == "Creating"


async def test_a_user_whom_the_match_no_longer_holds_is_lost_and_left_alone(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.settle("m1", {"alice": BACK}, final=False)
    await world.claim("m2", "alice", "carol")
    before = await world.user("alice")
    reply = await world.pool.advance(request(UserState.DISCONNECTING, room="r"), now_ms=NOW)
    assert reply == AdvanceOk((("alice", Step.LOST), ("bob", Step.CHANGED)))
    assert await world.user("alice") == before


async def test_a_match_without_a_claim_advances_no_user(world: World) -> None:
    await world.enqueue("alice")
    before = await world.snapshot()
    assert await world.pool.advance(request(UserState.IN_CALL, phase="Active"), now_ms=NOW) == Unclaimed()
    assert await world.snapshot() == before


async def test_a_settled_match_advances_no_user(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.settle("m1", dict.fromkeys(BOTH, BACK))
    before = await world.snapshot()
    assert await world.pool.advance(request(UserState.IN_CALL, phase="Active"), now_ms=NOW) == Settled()
    assert await world.snapshot() == before


async def test_an_owner_that_is_out_of_date_advances_no_user(world: World) -> None:
    await world.claim("m1", *BOTH)
    before = await world.snapshot()
    asked = request(UserState.IN_CALL, phase="Active", room="r")
    assert await world.other_owner(epoch=0).pool.advance(asked, now_ms=NOW) == Stale(1)
    assert await world.other_owner(incarnation="another").pool.advance(asked, now_ms=NOW) == Lost()
    assert await world.snapshot() == before


# How long one was alone


async def alone(world: World, is_alone: bool | None, seconds: float) -> AloneTime:
    """What the ledger says after it was told, `seconds` after the beginning, whether one is alone."""
    phase = {True: "Reconnecting", False: "Active", None: ""}[is_alone]
    await world.pool.advance(
        request(UserState.IN_CALL, phase=phase, alone=is_alone), now_ms=NOW + round(seconds * 1000)
    )
    return (await world.ledger("m1")).alone


async def test_being_alone_is_counted_from_its_first_moment(world: World) -> None:
    await world.claim("m1", *BOTH)
    assert await alone(world, False, 0) == AloneTime(0, None)
    for seconds in (10, 12):
        assert await alone(world, True, seconds) == AloneTime(0, NOW + 10_000)


async def test_what_one_was_alone_before_counts_if_they_were_together_for_a_moment_only(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    assert await alone(world, False, 14) == AloneTime(4000, None)
    assert await alone(world, True, 18.999) == AloneTime(4000, NOW + 18_999)
    assert await alone(world, False, 20.999) == AloneTime(6000, None)


async def test_after_five_seconds_together_the_count_restarts(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    await alone(world, False, 14)
    assert await alone(world, True, 19) == AloneTime(0, NOW + 19_000)


async def test_together_is_counted_from_its_first_moment(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    await alone(world, False, 11)
    await alone(world, False, 15)
    assert await alone(world, True, 16) == AloneTime(0, NOW + 16_000)


async def empty_room(world: World, seconds: float) -> AloneTime:
    """What the ledger says after an advance with an empty room."""
    told = request(UserState.IN_CALL, phase="Reconnecting", alone=False)
    await world.pool.advance(told, now_ms=NOW + round(seconds * 1000))
    return (await world.ledger("m1")).alone


async def test_an_empty_room_is_not_being_together(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, False, 0)
    await alone(world, True, 10)
    assert await empty_room(world, 50) == AloneTime(40_000, None)
    assert await alone(world, True, 60) == AloneTime(40_000, NOW + 60_000)


async def test_being_together_ends_when_both_go_at_once(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    await alone(world, False, 14)
    assert await empty_room(world, 16) == AloneTime(4000, None)
    assert await alone(world, True, 60) == AloneTime(4000, NOW + 60_000)


async def test_after_five_seconds_together_the_count_restarts_also_when_both_go_at_once(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    await alone(world, False, 14)
    await empty_room(world, 19)
    assert await alone(world, True, 20) == AloneTime(0, NOW + 20_000)


async def test_two_who_come_back_at_once_are_together_from_then_on(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    await empty_room(world, 14)
    await alone(world, False, 30)
    assert await alone(world, True, 34.999) == AloneTime(4000, NOW + 34_999)
    await empty_room(world, 35.999)
    await alone(world, False, 40)
    assert await alone(world, True, 45) == AloneTime(0, NOW + 45_000)


async def test_a_caller_that_does_not_know_who_is_there_changes_nothing(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    assert await alone(world, None, 30) == AloneTime(0, NOW + 10_000)


async def test_a_clock_that_went_back_takes_nothing_off(world: World) -> None:
    await world.claim("m1", *BOTH)
    await alone(world, True, 10)
    assert await alone(world, False, 8) == AloneTime(0, None)


# The flag for clients that poll


async def test_clients_that_poll_find_the_flag_of_the_end_for_a_while(world: World) -> None:
    await world.claim("m1", *BOTH)
    for _ in range(2):
        await world.pool.advance(request(UserState.DISCONNECTING, phase="Terminating", flag_seconds=30), now_ms=NOW)
    for who in BOTH:
        key = world.keys.force_disconnect(who)
        assert await world.raw("GET", key) == "roomkeeper:m1"
        assert 20_000 < await world.raw("PTTL", key) <= 30_000


async def test_the_flag_of_the_end_is_written_once(world: World) -> None:
    await world.claim("m1", *BOTH)
    told = request(UserState.DISCONNECTING, phase="Terminating", flag_seconds=30)
    await world.pool.advance(told, now_ms=NOW)
    await world.raw("DEL", world.keys.force_disconnect("alice"))
    await world.pool.advance(told, now_ms=NOW)
    assert "force-disconnect:alice" not in (await world.snapshot()).values


@pytest.mark.parametrize(("state", "seconds"), [(UserState.IN_CALL, 30), (UserState.DISCONNECTING, 0)])
async def test_no_flag_is_written_before_the_end_or_where_none_is_wanted(
    world: World, state: UserState, seconds: int
) -> None:
    await world.claim("m1", *BOTH)
    await world.pool.advance(request(state, flag_seconds=seconds), now_ms=NOW)
    assert not [key for key in (await world.snapshot()).values if key.startswith("force-disconnect:")]


async def test_a_user_whom_the_match_no_longer_holds_gets_no_flag(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.settle("m1", {"alice": BACK}, final=False)
    await world.pool.advance(request(UserState.DISCONNECTING, flag_seconds=30), now_ms=NOW)
    values = (await world.snapshot()).values
    assert "force-disconnect:alice" not in values
    assert "force-disconnect:bob" in values
