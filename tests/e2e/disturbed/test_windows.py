"""Calls are made and end however often something fails for a moment: LiveKit, or an operator that restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from controller.api.match import Match
from sandbox.ports import PortLocks
from tests import manifests
from tests.support.kube import is_true
from tests.support.livekit_proxy import LiveKitProxy
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience


@pytest.fixture(params=[1 / 7], ids=lambda _: "")
async def unsteady(rig: Rig, ports: PortLocks, request: pytest.FixtureRequest) -> AsyncIterator[LiveKitProxy]:
    """An operator whose LiveKit refuses a share of the requests, one in seven; it asks twice a second."""
    async with LiveKitProxy(rig.where.livekit_http_url, ports.take(), share=request.param) as proxy:
        operator = await rig.operators.start(
            livekit_url=proxy.url, livekit_public_url=rig.where.livekit_url, poll_seconds="0.5"
        )
        yield proxy
        await operator.end()


async def test_a_match_that_no_participant_joins_ends_by_time_with_a_livekit_that_fails_now_and_then(
    rig: Rig, unsteady: LiveKitProxy
) -> None:
    await rig.enqueue("alice", "bob")
    await rig.ready(timeouts={"connectSeconds": 12})
    over = await rig.kube.match_until(lambda match: is_true(match, "Finished"))
    assert over.status.reason == "NoShow"
    assert over.status.ready_at is not None
    assert _ended_at(over) - over.status.ready_at >= timedelta(seconds=12)
    assert unsteady.refused["ListRooms"] >= 2, "no window of 12 s is free of a refused list"
    await rig.expect_states(alice="IDLE", bob="IDLE")


async def test_a_call_that_a_participant_left_ends_by_time_with_a_livekit_that_fails_now_and_then(
    rig: Rig, unsteady: LiveKitProxy
) -> None:
    await rig.enqueue("alice", "bob")
    _, (_alice, bob) = await rig.active(timeouts={"leaveSeconds": 10, "soloSeconds": 60})
    refused = unsteady.refused.get("ListRooms", 0)
    await bob.leave()
    gone = await rig.kube.match_until(lambda match: match.status.phase == "Reconnecting")
    since = next(person.since for person in gone.status.participants if person.identity == "bob")
    over = await rig.kube.match_until(lambda match: is_true(match, "Finished"))
    assert over.status.reason == "Left"
    assert _ended_at(over) - since >= timedelta(seconds=10)
    assert unsteady.refused["ListRooms"] > refused
    await rig.expect_states(alice="WAITING", bob="IDLE")


@pytest.mark.parametrize("unsteady", [1 / 10], indirect=True)
async def test_every_call_is_made_and_ended_with_a_livekit_that_refuses_one_request_in_ten(
    rig: Rig, unsteady: LiveKitProxy
) -> None:
    pairs = {f"match-{number}": (f"a{number}", f"b{number}") for number in range(12)}
    await rig.enqueue(*(who for pair in pairs.values() for who in pair))
    await asyncio.gather(*(rig.ready(*pair, name=name) for name, pair in pairs.items()))
    for name, (first, _) in pairs.items():
        await rig.kube.patch("Match", name, manifests.termination("Skip", first))
    for name, pair in pairs.items():
        over = await rig.kube.match_until(lambda match: is_true(match, "Finished"), name)
        assert over.status.reason == "Skipped"
        await rig.expect_states(**dict.fromkeys(pair, "WAITING"))

    async def was_refused() -> None:
        assert sum(unsteady.refused.values()) >= 3, unsteady.refused

    await eventually(was_refused)
    assert unsteady.passed["CreateRoom"] >= len(pairs)
    assert unsteady.passed["DeleteRoom"] >= len(pairs)


async def test_a_match_ends_by_time_with_an_operator_that_restarts_all_the_time(rig: Rig) -> None:
    operator = await rig.operators.start()
    await eventually(operator.leads)
    match = await rig.ready(timeouts={"connectSeconds": 16})
    assert match.status.ready_at is not None
    restarts = 0
    async with asyncio.timeout(patience(60)):
        while not is_true(await rig.kube.match(), "Finished"):
            await operator.kill()
            await operator.start()
            await eventually(operator.leads)
            restarts += 1
            try:
                # A shorter life than the window: no process sees all of it.
                async with asyncio.timeout(4):
                    await rig.kube.match_until(lambda found: is_true(found, "Finished"))
            except TimeoutError:
                continue
    over = await rig.kube.match()
    assert over.status.reason == "NoShow"
    assert _ended_at(over) - match.status.ready_at >= timedelta(seconds=16)
    assert restarts >= 2


def _ended_at(match: Match) -> datetime:
    """When the end was decided."""
    return next(step.time for step in match.status.history if step.phase == "Terminating")
