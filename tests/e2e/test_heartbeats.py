"""Heartbeats as a witness: they show which users are gone, and trouble of a gateway ends no calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller.clients.redis.gateway import Beat
from sandbox.endpoints import Endpoints
from tests.support.chaos import frozen
from tests.support.gateways import Beats
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

# A user is silent after 2 s. The gateways beat ten times as often, so a slow machine makes no user silent.
_QUICK: dict[str, str] = {"heartbeat_seconds": "0.5", "heartbeat_misses": "4"}
_BEAT_SECONDS = 0.5
_LONG_AFTER_SECONDS = 3.0
_PATIENT: dict[str, Any] = {
    "timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60, "soloSeconds": 120},
    "room": {"departureTimeoutSeconds": 65},
}


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


async def test_a_user_who_waits_and_is_silent_leaves_the_queue(rig: Rig) -> None:
    """A user who beats stays. A user whose gateway was never heard of again after it let them wait does not."""
    operator = await rig.operators.start(**_QUICK)
    places = dict(zip(("alice", "bob", "carol"), await rig.enqueue("alice", "bob", "carol"), strict=True))
    async with Beats(rig.gateway, "alice", "bob") as gateway:
        gateway.stop("bob")
        await rig.expect_states(alice="WAITING", bob="IDLE", carol="IDLE")
        assert await rig.queue() == {"alice": places["alice"]}
        assert (await rig.user("bob")).reason == "Silent"
        assert 0 < await rig.redis.ttl(rig.keys.user("bob")) <= 3600
        assert (await operator.metrics())("roomkeeper_waiters_expired_total") == 2
        # A user who comes back gets a new place, behind those who stayed.
        await rig.enqueue("bob")
        async with Beats(rig.gateway, "bob"):
            assert list(await rig.queue()) == ["alice", "bob"]
            await consistently(lambda: _are(rig, bob="WAITING"), _LONG_AFTER_SECONDS)


async def test_a_user_who_is_silent_while_media_is_up_is_in_the_call(rig: Rig) -> None:
    """LiveKit shows that only the gateway is in trouble: the operator reports that, and the call goes on."""
    operator = await rig.operators.start(**_QUICK)
    await rig.enqueue("alice", "bob")
    async with Beats(rig.gateway, "alice", "bob") as gateway:
        await rig.active()
        gateway.stop("bob")
        await eventually(lambda: _is_contradicted(operator))
        await consistently(lambda: _is_up(rig), 2)
        assert "the gateway is in trouble, not the call" in operator.log


async def test_a_user_who_left_and_is_silent_is_not_waited_for(rig: Rig) -> None:
    """Both witnesses agree, so the operator does not wait until the window for coming back is over."""
    await rig.operators.start(**_QUICK)
    places = await rig.enqueue("alice", "bob")
    async with Beats(rig.gateway, "alice", "bob") as gateway:
        _, (alice, bob) = await rig.active(**_PATIENT)
        await bob.leave()
        assert bob.seen("left"), bob
        await rig.kube.match_until(lambda found: found.status.reason == "Left")
        await consistently(lambda: _has(rig, phase="Reconnecting", reason="Left"), 2.5)
        gateway.stop("bob")
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    end = over.status.end
    assert end is not None
    assert (end.reason, over.status.reason) == ("NetworkLost", "HeartbeatsStopped")
    assert "heartbeats" in (end.message or "")
    assert [(one.identity, one.state, one.place, one.detail) for one in end.outcomes] == [
        ("alice", "Waiting", "Now", None),
        ("bob", "Idle", None, "HeartbeatsStopped"),
    ]
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert (await rig.queue())["alice"] > max(places)
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_silence_ends_the_call_if_heartbeats_decide_alone(rig: Rig) -> None:
    """Only the silence of a user who has beaten since the beginning of this call counts."""
    await rig.operators.start(**_QUICK, heartbeat_decides="Alone")
    await rig.enqueue("alice", "bob", "carol", "dave")
    async with Beats(rig.gateway, "carol"):
        pass  # a browser that beat while it waited, and whose gateway sends no heartbeats during calls
    async with Beats(rig.gateway, "alice", "bob") as gateway:
        (match, people), _ = await asyncio.gather(rig.active(), rig.active("carol", "dave", name="quiet"))
        gateway.stop("alice")
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
        await rig.expect_states(alice="IDLE", bob="WAITING")
    assert over.metadata.uid == match.metadata.uid
    assert over.status.end is not None
    assert over.status.end.reason == "NetworkLost"
    assert [(one.state, one.detail) for one in over.status.end.outcomes] == [
        ("Idle", "HeartbeatsStopped"),
        ("Waiting", None),
    ]
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await consistently(lambda: _is_up(rig, "quiet"), 2)


@pytest.mark.parametrize("decides", ["Together", "Alone"])
async def test_a_gateway_that_restarts_ends_no_call_and_empties_no_queue(rig: Rig, decides: str) -> None:
    """All its users fall silent within one interval. So many clients do not die at once, so it must be the gateway."""
    operator = await rig.operators.start(**_QUICK, heartbeat_decides=decides)
    pairs = [(f"a{number}", f"b{number}") for number in range(3)]
    talking = [user for pair in pairs for user in pair]
    waiting = ["w1", "w2", "w3"]
    await rig.enqueue(*talking, *waiting)
    async with Beats(rig.gateway, *talking, *waiting, every_seconds=_BEAT_SECONDS) as gateway:
        calls = await asyncio.gather(*(rig.active(*pair, name=f"match-{n}") for n, pair in enumerate(pairs)))
        gateway.stop()
        await eventually(lambda: _is_doubted(operator, len(talking) + len(waiting)))

        async def goes_on() -> None:
            for number in range(len(pairs)):
                await _is_up(rig, f"match-{number}")
            assert list(await rig.queue()) == waiting

        await consistently(goes_on, _LONG_AFTER_SECONDS)
    assert not any(person.seen("disconnected") for _, people in calls for person in people)
    assert "a gateway is in trouble" in operator.log


async def test_a_redis_that_stood_still_makes_no_user_silent(rig: Rig) -> None:
    """No gateway could beat, and some pause before they try again. That says nothing about their users."""
    await rig.operators.start(**_QUICK, heartbeat_decides="Alone")
    users = ("alice", "bob", "carol")
    await rig.enqueue(*users)

    async def goes_on() -> None:
        await _is_up(rig)
        assert list(await rig.queue()) == ["carol"]

    async with Beats(rig.gateway, *users, every_seconds=_BEAT_SECONDS):
        await rig.active()
    with frozen(rig.where, "redis-server"):
        await consistently(lambda: _is_up(rig), _LONG_AFTER_SECONDS)
    await consistently(goes_on, 0.7)
    async with Beats(rig.gateway, *users, every_seconds=_BEAT_SECONDS):
        await consistently(goes_on, _LONG_AFTER_SECONDS)


async def test_a_user_who_was_forgotten_is_told_to_enter_again(rig: Rig) -> None:
    """The gateway learns this after the operator has removed its user."""
    await rig.operators.start(**_QUICK)
    await rig.ready("erin", "frank")
    await rig.enqueue("alice")
    async with Beats(rig.gateway, "alice") as gateway:
        gateway.stop()
        await rig.expect_states(alice="IDLE")
    beat = await rig.gateway.beat("alice")
    assert isinstance(beat, Beat)
    assert (beat.state, beat.reason) == ("IDLE", "Silent")


async def _are(rig: Rig, **states: str) -> None:
    assert await rig.states(*states) == states


async def _is_up(rig: Rig, name: str = "match") -> None:
    match = await rig.kube.match(name)
    assert (match.status.phase, match.status.connected) == ("Active", "2/2")


async def _has(rig: Rig, *, phase: str, reason: str) -> None:
    match = await rig.kube.match()
    assert (match.status.phase, match.status.reason) == (phase, reason)


async def _is_contradicted(operator: Operator) -> None:
    assert (await operator.metrics())("roomkeeper_heartbeats_contradicted_total") >= 1


async def _is_doubted(operator: Operator, users: int) -> None:
    assert (await operator.metrics())("roomkeeper_heartbeats_doubted_total") == users
