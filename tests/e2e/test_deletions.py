"""A Match is deleted in whatever phase it is in: it goes, nothing of it is left, and its users are let go once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller.api.names import PAUSED
from sandbox.endpoints import Endpoints
from tests import manifests
from tests.support.chaos import frozen
from tests.support.gateways import send
from tests.support.kube import condition, is_true
from tests.support.waiting import consistently, eventually
from tests.support.world import World

_PATIENT: dict[str, Any] = {
    "timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60},
    "room": {"departureTimeoutSeconds": 65},
}


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


async def test_pending_because_another_match_holds_a_user(world: World) -> None:
    """The holder is on its way out and is held up: the one that waits for it can be given up at any time."""
    await world.operators.start()
    places = dict(zip(("alice", "bob", "carol"), await world.enqueue("alice", "bob", "carol"), strict=True))
    await world.ready(name="holder")
    pause = {"metadata": {"annotations": {PAUSED: "true"}}}
    await world.kube.patch("Match", "holder", {**pause, **manifests.termination("Skip", "alice")})
    await world.kube.create(manifests.match("bob", "carol", name="next"))
    waiting = await world.kube.match_until(lambda found: condition(found, "Accepted").reason == "UserBusy", "next")
    assert (waiting.status.phase, waiting.status.connected) == ("Pending", "0/2")
    assert "holder" in condition(waiting, "Accepted").message
    await world.delete("next")
    assert await world.queue() == {"carol": places["carol"]}
    await world.kube.patch("Match", "holder", {"metadata": {"annotations": {PAUSED: None}}})
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"), "holder")
    assert over.status.reason == "Skipped"
    assert list(await world.queue()) == ["bob", "carol", "alice"]


async def test_creating_while_livekit_is_away(world: World) -> None:
    """Rolled back at once, whether LiveKit answers or not; the room that it makes late is closed."""
    operator = await world.operators.start()
    await eventually(operator.leads)
    places = dict(zip(("alice", "bob", "carol"), await world.enqueue("alice", "bob", "carol"), strict=True))
    with frozen(world.where, "livekit-server"):
        await world.kube.create(manifests.match())
        await world.expect_states(alice="CONNECTING", bob="CONNECTING")
        await world.kube.match_until(lambda found: found.status.phase == "Creating")
        await world.kube.delete("Match", "match")
        await world.expect_states(alice="WAITING", bob="WAITING")
        assert await world.queue() == places
    await world.kube.gone("Match", "match")
    assert await world.queue() == places
    await eventually(lambda: _no_rooms(world))


async def test_connecting_when_one_of_them_is_in_the_room(world: World) -> None:
    """It was Ready, so it is no rollback: who was there gets a new place, who was not keeps the old one."""
    await world.operators.start()
    places = dict(zip(("alice", "bob", "carol"), await world.enqueue("alice", "bob", "carol"), strict=True))
    match = await world.ready()
    alice = world.people("alice", (await world.tokens(match))["alice"]["token"])
    await alice.join()
    await world.kube.match_until(lambda found: (found.status.phase, found.status.connected) == ("Connecting", "1/2"))
    await world.delete()
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await world.expect_states(alice="WAITING", bob="WAITING", carol="WAITING")
    queue = await world.queue()
    assert list(queue) == ["bob", "carol", "alice"]
    assert (queue["bob"], queue["carol"]) == (places["bob"], places["carol"])
    assert (await world.hash(world.keys.match(match.metadata.uid)))["endReason"] == "Deleted"
    await _no_rooms(world)


async def test_active(world: World) -> None:
    await world.operators.start()
    await world.enqueue("alice", "bob", "carol")
    match, people = await world.active()
    await world.delete()
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await world.expect_states(alice="WAITING", bob="WAITING", carol="WAITING")
    queue = list(await world.queue())
    assert (queue[0], sorted(queue)) == ("carol", ["alice", "bob", "carol"])
    assert (await world.hash(world.keys.match(match.metadata.uid)))["endReason"] == "Deleted"
    await _no_rooms(world)


async def test_reconnecting(world: World) -> None:
    """Nobody is waited for any more, and both go back: the deletion is nobody's fault."""
    await world.operators.start()
    places = await world.enqueue("alice", "bob")
    _, (alice, bob) = await world.active(**_PATIENT)
    await bob.leave()
    await world.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await world.delete()
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await world.expect_states(alice="WAITING", bob="WAITING")
    assert min((await world.queue()).values()) > max(places)
    await _no_rooms(world)


async def test_terminating_while_livekit_is_away(world: World) -> None:
    """The users are settled by the first cause; a deletion changes nothing of it, and they may be in a call already."""
    await world.operators.start()
    await world.enqueue("alice", "bob")
    await world.active()
    with frozen(world.where, "livekit-server"):
        await world.kube.patch("Match", "match", manifests.termination("End", "alice"))
        await world.expect_states(alice="IDLE", bob="WAITING")
        closing = await world.kube.match_until(lambda found: found.status.phase == "Terminating")
        assert closing.status.reason == "Ended"
        before = await world.queue()
        await world.kube.delete("Match", "match")
        await world.kube.create(manifests.match("bob", "carol", name="next"))
        await world.expect_states(alice="IDLE", bob="CONNECTING", carol="CONNECTING")
    await world.kube.gone("Match", "match")
    following = await world.kube.match_until(lambda found: is_true(found, "Ready"), "next")
    assert (await world.user("bob")).match == following.metadata.uid
    assert (await world.user("bob")).queued_at_ms == before["bob"]
    await world.expect_states(alice="IDLE", bob="CONNECTING", carol="CONNECTING")
    assert list(await world.livekit_rooms()) == [await world.livekit_name(following)]


async def test_ended_and_failed(world: World) -> None:
    """What is over is only forgotten: its users wait, or are in the next call, and stay where they are."""
    await world.operators.start()
    await world.enqueue("alice", "bob", "carol")
    first = await world.ready(name="first")
    await send(world, "skip", "alice", match=first.metadata.uid)
    await world.kube.match_until(lambda found: is_true(found, "Finished"), "first")
    second = await world.ready("alice", "carol", name="second")
    await world.kube.create(manifests.match("carol", "dave", name="failed"))
    await world.kube.match_until(lambda found: found.status.phase == "Failed", "failed")
    before, states = await world.queue(), await world.states("alice", "bob", "carol", "dave")
    assert (list(before), states["alice"], states["dave"]) == (["bob"], "CONNECTING", None)
    await asyncio.gather(world.delete("first"), world.delete("failed"))

    async def is_as_before() -> None:
        assert await world.queue() == before
        assert await world.states("alice", "bob", "carol", "dave") == states
        assert (await world.user("alice")).match == second.metadata.uid

    await consistently(is_as_before, 0.5)


async def _no_rooms(world: World) -> None:
    assert await world.livekit_rooms() == {}
    assert await world.kube.list("Secret") == []
    assert await world.kube.list("Room") == []
