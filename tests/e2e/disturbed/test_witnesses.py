"""Webhooks come twice, late, in another order, or not at all: the calls go the same way."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.match import Match
from controller.api.phases import MatchPhase
from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently
from tests.support.webhook_proxy import LINES, WebhookProxy, a_call_late

_PATIENT = {"timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60}, "room": {"departureTimeoutSeconds": 65}}
_SHORT = {"timeouts": {"leaveSeconds": 2, "reconnectSeconds": 2}}
# From entering the queue: two calls of CONNECTING, IN_CALL, DISCONNECTING, and the state after each.
_CHANGES = "9"


@pytest.mark.parametrize("line", LINES)
async def test_calls_go_the_same_way_over_a_bad_line(rig: Rig, line: str) -> None:
    """A page is reloaded, then a skip; the same two meet in the next call, and one of them leaves it for good."""
    first = rig.operators.make()
    operator = await rig.operators.start(poll_seconds="1")
    await rig.enqueue("alice", "bob")
    async with WebhookProxy(first.webhook_url, operator.webhook_url, LINES[line]) as proxy:
        await _call_with_a_reload(rig)
        await proxy.arrived()
        await consistently(lambda: _is_up(rig, "first", reconnected=1), 1.5)
        await rig.kube.patch("Match", "first", manifests.termination("Skip", "alice"))
        await rig.kube.match_until(lambda found: is_true(found, "Finished"), "first")
        await rig.expect_states(alice="WAITING", bob="WAITING")

        # Late webhooks of the first call arrive during the second one.
        _, (alice, bob) = await rig.active(name="second", admission="Queued", **_SHORT)
        await proxy.arrived()
        await consistently(lambda: _is_up(rig, "second", reconnected=0), 1.5)
        await bob.leave()
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), "second")
        await proxy.arrived()
        assert set(proxy.answers) <= {200}

    end = over.status.end
    assert end is not None
    # A list does not show whether it was a goodbye.
    assert end.reason == "Left" or "dropped" in line
    assert end.reason in {"Left", "NetworkLost"}
    assert [(one.identity, one.state, one.place) for one in end.outcomes] == [
        ("alice", "Waiting", "Now"),
        ("bob", "Idle", None),
    ]
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert list(await rig.queue()) == ["alice"]
    for user in ("alice", "bob"):
        assert (await rig.hash(rig.keys.user(user)))["epoch"] == _CHANGES
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_webhooks_that_are_a_call_late_change_no_other_call_and_none_that_is_over(rig: Rig) -> None:
    """Polling must suffice; the late webhooks are about an earlier room or an earlier connection."""
    first = rig.operators.make()
    operator = await rig.operators.start(poll_seconds="1")
    async with WebhookProxy(first.webhook_url, operator.webhook_url, a_call_late) as proxy:
        await _call_with_a_reload(rig)
        await rig.kube.patch("Match", "first", manifests.termination("Skip", "alice"))
        await rig.kube.match_until(lambda found: is_true(found, "Finished"), "first")
        story = await _story(rig, "first")

        # All webhooks about the first call, and about the beginning of the second, arrive during the second.
        _, (_, bob) = await rig.active(name="second", **_SHORT)
        await proxy.arrived()
        assert set(proxy.answers) == {200}
        await consistently(lambda: _is_up(rig, "second", reconnected=0), 1.5)
        assert await _story(rig, "first") == story

        await bob.leave()
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), "second")
        await rig.expect_states(alice="IDLE", bob="IDLE")
        await rig.enqueue("alice")
        await proxy.arrived()
        await rig.expect_states(alice="WAITING", bob="IDLE")
        assert await _story(rig, "second") == over.status.manifest()


async def _call_with_a_reload(rig: Rig) -> None:
    """The first call, in which bob's page is reloaded."""
    match, (_, bob) = await rig.active(name="first", **_PATIENT)
    token = (await rig.tokens(match))["bob"]["token"]
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting", "first")
    await rig.people("bob", token).join()
    await rig.kube.match_until(lambda found: found.status.phase == "Active", "first")


async def _story(rig: Rig, name: str) -> dict[str, Any]:
    return (await rig.kube.match(name)).status.manifest()


async def _is_up(rig: Rig, name: str, *, reconnected: int) -> None:
    match: Match = await rig.kube.match(name)
    assert (match.status.phase, match.status.connected) == ("Active", "2/2")
    assert [step.phase for step in match.status.history].count(MatchPhase.RECONNECTING) == reconnected
