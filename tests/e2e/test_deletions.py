"""A Match is deleted in any phase: it goes, nothing of it is left, and its users are released once."""

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
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

_PATIENT: dict[str, Any] = {
    "timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60},
    "room": {"departureTimeoutSeconds": 65},
}


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


async def test_pending_because_another_match_holds_a_user(rig: Rig) -> None:
    """The Match that holds the user cannot end yet. A Match that waits for it can be deleted at any time."""
    await rig.operators.start()
    places = dict(zip(("alice", "bob", "carol"), await rig.enqueue("alice", "bob", "carol"), strict=True))
    await rig.ready(name="holder")
    pause = {"metadata": {"annotations": {PAUSED: "true"}}}
    await rig.kube.patch("Match", "holder", {**pause, **manifests.termination("Skip", "alice")})
    await rig.kube.create(manifests.match("bob", "carol", name="next"))
    waiting = await rig.kube.match_until(lambda found: condition(found, "Accepted").reason == "UserBusy", "next")
    assert (waiting.status.phase, waiting.status.connected) == ("Pending", "0/2")
    assert "holder" in condition(waiting, "Accepted").message
    await rig.delete("next")
    assert await rig.queue() == {"carol": places["carol"]}
    await rig.kube.patch("Match", "holder", {"metadata": {"annotations": {PAUSED: None}}})
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), "holder")
    assert over.status.reason == "Skipped"
    assert list(await rig.queue()) == ["bob", "carol", "alice"]


async def test_creating_while_livekit_is_away(rig: Rig) -> None:
    """The Match is rolled back at once, whether LiveKit answers or not; a room that LiveKit makes late is closed."""
    operator = await rig.operators.start()
    await eventually(operator.leads)
    places = dict(zip(("alice", "bob", "carol"), await rig.enqueue("alice", "bob", "carol"), strict=True))
    with frozen(rig.where, "livekit-server"):
        await rig.kube.create(manifests.match())
        await rig.expect_states(alice="CONNECTING", bob="CONNECTING")
        await rig.kube.match_until(lambda found: found.status.phase == "Creating")
        await rig.kube.delete("Match", "match")
        await rig.expect_states(alice="WAITING", bob="WAITING")
        assert await rig.queue() == places
    await rig.kube.gone("Match", "match")
    assert await rig.queue() == places
    await eventually(lambda: _no_rooms(rig))


async def test_connecting_when_one_of_them_is_in_the_room(rig: Rig) -> None:
    """It was Ready, so it is no rollback: the user in the room gets a new place, the other one keeps the old place."""
    await rig.operators.start()
    places = dict(zip(("alice", "bob", "carol"), await rig.enqueue("alice", "bob", "carol"), strict=True))
    match = await rig.ready()
    alice = rig.people("alice", (await rig.tokens(match))["alice"]["token"])
    await alice.join()
    await rig.kube.match_until(lambda found: (found.status.phase, found.status.connected) == ("Connecting", "1/2"))
    await rig.delete()
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="WAITING", carol="WAITING")
    queue = await rig.queue()
    assert list(queue) == ["bob", "carol", "alice"]
    assert (queue["bob"], queue["carol"]) == (places["bob"], places["carol"])
    assert (await rig.hash(rig.keys.match(match.metadata.uid)))["endReason"] == "Deleted"
    await _no_rooms(rig)


async def test_active(rig: Rig) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob", "carol")
    match, people = await rig.active()
    await rig.delete()
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="WAITING", carol="WAITING")
    queue = list(await rig.queue())
    assert (queue[0], sorted(queue)) == ("carol", ["alice", "bob", "carol"])
    assert (await rig.hash(rig.keys.match(match.metadata.uid)))["endReason"] == "Deleted"
    await _no_rooms(rig)


async def test_reconnecting(rig: Rig) -> None:
    """The Match no longer waits for the missing participant. Both go back to the queue: neither caused the deletion."""
    await rig.operators.start()
    places = await rig.enqueue("alice", "bob")
    _, (alice, bob) = await rig.active(**_PATIENT)
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await rig.delete()
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert min((await rig.queue()).values()) > max(places)
    await _no_rooms(rig)


async def test_terminating_while_livekit_is_away(rig: Rig) -> None:
    """The first cause has settled the users. A deletion does not change that, and they may be in a call already."""
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.active()
    with frozen(rig.where, "livekit-server"):
        await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
        await rig.expect_states(alice="IDLE", bob="WAITING")
        closing = await rig.kube.match_until(lambda found: found.status.phase == "Terminating")
        assert closing.status.reason == "Ended"
        before = await rig.queue()
        await rig.kube.delete("Match", "match")
        await rig.kube.create(manifests.match("bob", "carol", name="next"))
        await rig.expect_states(alice="IDLE", bob="CONNECTING", carol="CONNECTING")
    await rig.kube.gone("Match", "match")
    following = await rig.kube.match_until(lambda found: is_true(found, "Ready"), "next")
    assert (await rig.user("bob")).match == following.metadata.uid
    assert (await rig.user("bob")).queued_at_ms == before["bob"]
    await rig.expect_states(alice="IDLE", bob="CONNECTING", carol="CONNECTING")
    assert list(await rig.livekit_rooms()) == [await rig.livekit_name(following)]


async def test_ended_and_failed(rig: Rig) -> None:
    """Deleting a Match that is over only removes the object: its users wait or are in the next call, and stay there."""
    await rig.operators.start()
    await rig.enqueue("alice", "bob", "carol")
    first = await rig.ready(name="first")
    await send(rig, "skip", "alice", match=first.metadata.uid)
    await rig.kube.match_until(lambda found: is_true(found, "Finished"), "first")
    second = await rig.ready("alice", "carol", name="second")
    await rig.kube.create(manifests.match("carol", "dave", name="failed"))
    await rig.kube.match_until(lambda found: found.status.phase == "Failed", "failed")
    before, states = await rig.queue(), await rig.states("alice", "bob", "carol", "dave")
    assert (list(before), states["alice"], states["dave"]) == (["bob"], "CONNECTING", None)
    await asyncio.gather(rig.delete("first"), rig.delete("failed"))

    async def is_as_before() -> None:
        assert await rig.queue() == before
        assert await rig.states("alice", "bob", "carol", "dave") == states
        assert (await rig.user("alice")).match == second.metadata.uid

    await consistently(is_as_before, 0.5)


async def _no_rooms(rig: Rig) -> None:
    assert await rig.livekit_rooms() == {}
    assert await rig.kube.list("Secret") == []
    assert await rig.kube.list("Room") == []
