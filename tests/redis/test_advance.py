"""advance: users move forward only, and learn where their room is."""

from __future__ import annotations

import pytest

from controller.clients.redis.replies import AdvanceOk, Lost, Settled, Stale, Step, Unclaimed
from controller.clients.redis.requests import AdvanceRequest, Decision, Place, UserState
from tests.redis.world import NOW, World

BACK = (Decision.BACK, Place.ORIG)
BOTH = ("alice", "bob")


def request(state: UserState, *, uid: str = "m1", **fields: str) -> AdvanceRequest:
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
async def test_nobody_moves_down(world: World, current: UserState, asked: UserState) -> None:
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


async def test_a_match_that_claimed_nobody_advances_nobody(world: World) -> None:
    await world.enqueue("alice")
    before = await world.snapshot()
    assert await world.pool.advance(request(UserState.IN_CALL, phase="Active"), now_ms=NOW) == Unclaimed()
    assert await world.snapshot() == before


async def test_a_settled_match_advances_nobody(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.settle("m1", dict.fromkeys(BOTH, BACK))
    before = await world.snapshot()
    assert await world.pool.advance(request(UserState.IN_CALL, phase="Active"), now_ms=NOW) == Settled()
    assert await world.snapshot() == before


async def test_an_owner_that_is_out_of_date_advances_nobody(world: World) -> None:
    await world.claim("m1", *BOTH)
    before = await world.snapshot()
    asked = request(UserState.IN_CALL, phase="Active", room="r")
    assert await world.other_owner(epoch=0).pool.advance(asked, now_ms=NOW) == Stale(1)
    assert await world.other_owner(incarnation="another").pool.advance(asked, now_ms=NOW) == Lost()
    assert await world.snapshot() == before
