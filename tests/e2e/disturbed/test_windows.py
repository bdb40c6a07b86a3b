"""Calls end by time however often something is away for a moment: a LiveKit that fails, an operator that restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from controller.api.match import Match
from sandbox.ports import PortLocks
from tests.support.kube import is_true
from tests.support.livekit_proxy import LiveKitProxy
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience


@pytest.fixture
async def unsteady(rig: Rig) -> AsyncIterator[LiveKitProxy]:
    """An operator whose LiveKit refuses one request in seven; it asks twice a second."""
    ports = PortLocks()
    async with LiveKitProxy(rig.where.livekit_http_url, ports.take(), share=1 / 7) as proxy:
        operator = await rig.operators.start(
            livekit_url=proxy.url, livekit_public_url=rig.where.livekit_url, poll_seconds="0.5"
        )
        yield proxy
        await operator.end()
    ports.release()


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
