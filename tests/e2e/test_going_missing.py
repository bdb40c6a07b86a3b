"""Participants drop out of real calls: with a goodbye or without, back in time or not."""

from __future__ import annotations

from tests.support.kube import is_true
from tests.support.rig import Rig


async def test_a_user_who_leaves_and_is_not_back_ends_the_call_for_both(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    _, (alice, bob) = await rig.active(timeouts={"leaveSeconds": 1})
    await bob.leave()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.phase, over.status.end.reason) == ("Ended", "Left")
    assert over.status.end.message == "bob left and did not come back within 1 s"
    assert [(one.identity, one.state, one.place) for one in over.status.end.outcomes] == [
        ("alice", "Waiting", "Now"),
        ("bob", "Idle", None),
    ]
    assert "Reconnecting" in [step.phase for step in over.status.history]
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_a_page_that_is_reloaded_goes_on_with_the_call(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    match, (_, bob) = await rig.active(timeouts={"leaveSeconds": 20})
    token = (await rig.tokens(match))["bob"]["token"]
    await bob.leave()
    # Polling may be the first to see it, but only the webhook says that it was a goodbye.
    missing = await rig.kube.match_until(lambda found: found.status.reason == "Left")
    assert (missing.status.phase, missing.status.connected) == ("Reconnecting", "1/2")
    await rig.people("bob", token).join()
    back = await rig.kube.match_until(lambda found: found.status.phase == "Active")
    assert (back.status.connected, back.status.reason, back.status.connected_at) == (
        "2/2",
        None,
        match.status.connected_at,
    )
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")


async def test_a_user_who_vanishes_and_does_not_come_back_is_lost_to_the_network(rig: Rig) -> None:
    # LiveKit itself takes some 20 s to notice that a client has vanished.
    await rig.enqueue("alice", "bob")
    _, (_, bob) = await rig.active(timeouts={"reconnectSeconds": 1})
    await bob.kill()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), at_least_seconds=25)
    assert over.status.end is not None
    assert over.status.end.reason == "NetworkLost"
    assert over.status.end.message == "bob lost the connection and did not come back within 1 s"
    await rig.expect_states(alice="WAITING", bob="IDLE")
