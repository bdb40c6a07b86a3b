"""Several nodes of LiveKit with one Redis, and nodes that die with people on them.

LiveKit lists the people of a dead node for ever. Who does not come back must be lost all the same, and who comes back
must not notice anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit import api

from controller.api.match import Match
from controller.api.names import room_name
from controller.clients.livekit import LiveKitClient
from controller.clock import ServerClock
from controller.errors import NotFound
from sandbox.endpoints import Endpoints
from sandbox.people import Person
from tests.environments.livekit_nodes import LiveKitNodes
from tests.support.gateways import Beats
from tests.support.kube import condition, is_true
from tests.support.people import People
from tests.support.rig import Rig
from tests.support.waiting import eventually

_SPEC: dict[str, Any] = {"timeouts": {"reconnectSeconds": 20}, "room": {"departureTimeoutSeconds": 60}}


@pytest.fixture
def count() -> int:
    """How many nodes there are."""
    return 2


@pytest.fixture
async def nodes(bare: Endpoints, tmp_path: Path, count: int) -> AsyncIterator[LiveKitNodes]:
    """LiveKit with a Redis."""
    async with LiveKitNodes(bare, tmp_path, count) as all_nodes:
        yield all_nodes


@pytest.fixture
def where(nodes: LiveKitNodes) -> Endpoints:
    """The stack, with these nodes in the place of its LiveKit."""
    return nodes.where


async def _call(rig: Rig, name: str, **spec: Any) -> tuple[Match, tuple[Person, ...]]:
    names = (f"{name}-1", f"{name}-2")
    await rig.enqueue(*names)
    return await rig.active(*names, name=name, **{**_SPEC, **spec})


async def _over(rig: Rig, name: str) -> Match:
    return await rig.kube.match_until(lambda match: is_true(match, "Finished"), name, 60)


def _reason(match: Match) -> str:
    assert match.status.end is not None
    return f"{match.status.end.reason}: {match.status.end.message}"


async def _goes_on(rig: Rig, before: Match, people: tuple[Person, ...]) -> None:
    """Both are connected again, in the same call."""
    name = before.metadata.name
    for person in people:
        assert (await person.wait_for("reconnected", "disconnected", timeout=60))["event"] == "reconnected"
    after = await rig.kube.match_until(lambda match: match.status.connected == "2/2", name)
    assert after.status.connected_at == before.status.connected_at
    assert await rig.livekit_people(await rig.livekit_name(after)) == {f"{name}-1", f"{name}-2"}


async def test_who_was_on_a_killed_node_is_lost_unless_they_come_back(rig: Rig, nodes: LiveKitNodes) -> None:
    operator = await rig.operators.start(livekit_url=nodes.url, heartbeat_seconds="1", heartbeat_misses="3")
    neither, one, both, silent = await asyncio.gather(
        *(_call(rig, name) for name in ("neither", "one", "both", "silent"))
    )
    await nodes.start(1)
    async with Beats(rig.gateway, "silent-1", "silent-2") as beats:

        async def are_heard() -> None:
            assert await rig.redis.zscore(rig.keys.heartbeats(), "silent-2")

        await eventually(are_heard)
        await nodes.kill(0)
        gone = (*neither[1], *silent[1], one[1][1])
        await asyncio.gather(*(person.kill() for person in gone))
        beats.stop()
        await asyncio.gather(
            _goes_on(rig, *both),
            one[1][0].wait_for("reconnected", timeout=60),
        )
    ends = {name: await _over(rig, name) for name in ("neither", "one", "silent")}
    assert ends["silent"].status.reason == "HeartbeatsStopped", _reason(ends["silent"])
    assert _reason(ends["neither"]).startswith("NetworkLost: neither-1 and neither-2 lost"), _reason(ends["neither"])
    assert _reason(ends["one"]).startswith("NetworkLost: one-2 lost"), _reason(ends["one"])
    await rig.expect_states(**{"one-1": "WAITING", "both-1": "IN_CALL", "neither-1": "IDLE"})
    told = await operator.metrics()
    assert told("roomkeeper_ghosts_found_total") >= 3
    assert told("roomkeeper_webhooks_total", result="unknown-key") == 0
    again = await rig.kube.match("both")
    assert {one.evidence for one in again.status.participants} == {"webhook"}, "the other node's webhooks count"


@pytest.mark.parametrize("count", [1])
async def test_who_was_on_the_only_node_is_lost_after_its_restart_unless_they_come_back(
    rig: Rig, nodes: LiveKitNodes
) -> None:
    await rig.operators.start(livekit_url=nodes.url)
    neither, one, both = await asyncio.gather(*(_call(rig, name) for name in ("neither", "one", "both")))
    owned = room_name(neither[0].metadata.uid)
    await nodes.kill()
    await asyncio.gather(*(person.kill() for person in (*neither[1], one[1][1])))
    await nodes.start()
    sick = await rig.kube.room_until(lambda room: "GhostParticipant" in room.status.issues, owned, 30)
    told = "LiveKit lists neither-1, neither-2 on a node that no longer answers; they count as gone"
    assert condition(sick, "Healthy").message == told
    assert (sick.status.num_participants, sick.status.occupancy) == (0, "Available")
    lost = await rig.kube.match_until(lambda match: match.status.connected == "0/2", "neither")
    assert "LiveKit lists them on a node that no longer answers" in condition(lost, "Connected").message
    await asyncio.gather(_goes_on(rig, *both), one[1][0].wait_for("reconnected", timeout=60))
    ends = {name: await _over(rig, name) for name in ("neither", "one")}
    assert _reason(ends["neither"]).startswith("NetworkLost: neither-1 and neither-2 lost"), _reason(ends["neither"])
    assert _reason(ends["one"]).startswith("NetworkLost: one-2 lost"), _reason(ends["one"])
    await rig.expect_states(**{"one-1": "WAITING", "both-1": "IN_CALL", "neither-1": "IDLE"})


async def test_a_room_that_both_nodes_lost_is_made_again_once_and_both_people_are_called_back(
    rig: Rig, nodes: LiveKitNodes
) -> None:
    await nodes.start(1)
    await rig.operators.start(livekit_url=nodes.url, poll_seconds="0.3")
    before, people = await _call(rig, "lost")
    name = await rig.livekit_name(before)
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    await asyncio.gather(*(person.wait_for("disconnected", reason="ROOM_DELETED") for person in people))

    async def are_called() -> None:
        for who in ("lost-1", "lost-2"):
            notices = await rig.stream(rig.keys.notify(who))
            assert [one["type"] for one in notices].count("rejoin") == 1, notices

    await eventually(are_called)
    await rig.join(before)
    after = await rig.kube.match_until(lambda match: match.status.connected == "2/2", "lost")
    assert (after.status.connected_at, await rig.livekit_name(after)) == (before.status.connected_at, name)
    room = await rig.kube.room_until(lambda found: found.status.lost_at is None, room_name(before.metadata.uid))
    assert room.status.restores == 1
    await are_called()


async def test_a_probe_changes_nothing_and_no_client_is_told(
    where: Endpoints, nodes: LiveKitNodes, livekit: api.LiveKitAPI, people: People
) -> None:
    await nodes.start(1)
    room = "probed"
    await livekit.room.create_room(api.CreateRoomRequest(name=room, empty_timeout=60))
    token = api.AccessToken(where.livekit_api_key, where.livekit_api_secret).with_identity("alice").with_name("Alice")
    token.with_metadata("of alice").with_attributes({"color": "red"})
    token.with_grants(api.VideoGrants(room_join=True, room=room, can_publish_sources=["microphone"]))
    alice = people("alice", token.to_jwt())
    bob = people.uninvited("bob", room)
    for person in (alice, bob):
        await person.join()
    await alice.wait_for("track_subscribed")
    await bob.wait_for("track_subscribed")

    async def listed() -> str:
        return str(await livekit.room.get_participant(api.RoomParticipantIdentity(room=room, identity="alice")))

    before, seen = await listed(), (len(alice.events), len(bob.events))
    assert 'metadata: "of alice"' in before
    async with aiohttp.ClientSession() as http:
        client = LiveKitClient(
            http, where.livekit_http_url, where.livekit_api_key, where.livekit_api_secret, ServerClock()
        )
        for only in (0, 1):
            nodes.only(only)  # the node of the participant, and another one
            sid = await client.probe(room, "alice")
            assert f'sid: "{sid}"' in before
        with pytest.raises(NotFound):
            await client.probe(room, "carol")
        assert await client.has_nodes_that_answer()
    # What a node tells its clients arrives in order: this comes after whatever a probe has caused.
    await livekit.room.send_data(api.SendDataRequest(room=room, data=b"done", topic="end"))
    for person, after in zip((alice, bob), seen, strict=True):
        await person.wait_for("data", after=after)
        assert [event["event"] for event in person.events[after:]] == ["data"], person
    assert await listed() == before, "not even the version of the participant is another one"
    await livekit.room.delete_room(api.DeleteRoomRequest(room=room))
