"""LiveKit with `auto_create: true`: a client can make a room again after its end, and it is closed again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from livekit import api

from sandbox.endpoints import Endpoints
from tests.environments.livekit_nodes import LiveKitNodes
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_SOME_NAME = "rk-0123456789abcdef0123"


@pytest.fixture
async def livekit_server(bare: Endpoints, tmp_path: Path) -> AsyncIterator[LiveKitNodes]:
    """A LiveKit that makes a room for the first client that comes."""
    async with LiveKitNodes(bare, tmp_path, room={"auto_create": True}) as one:
        yield one


@pytest.fixture
def where(livekit_server: LiveKitNodes) -> Endpoints:
    """The stack, with this LiveKit in the place of its own."""
    return livekit_server.where


async def test_a_room_that_its_users_make_again_after_the_end_is_closed(rig: Rig, livekit_server: LiveKitNodes) -> None:
    operator = await rig.operators.start(livekit_url=livekit_server.url)
    match, _ = await rig.active()
    name, tokens = await rig.livekit_name(match), await rig.tokens(match)
    await rig.kube.patch("Match", "match", {"spec": {"termination": {"action": "Skip", "initiator": "bob"}}})
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    again = [rig.people(who, entry["token"]) for who, entry in tokens.items()]
    await asyncio.gather(*(person.join() for person in again))
    for other in (_SOME_NAME, "lobby"):
        await rig.livekit.room.create_room(api.CreateRoomRequest(name=other, empty_timeout=300))
    await asyncio.gather(*(person.wait_for("disconnected", reason="ROOM_DELETED", timeout=60) for person in again))

    async def is_said() -> None:
        told = [json.loads(line) for line in operator.log.splitlines() if "a client made it again" in line]
        assert [entry["room"] for entry in told] == [name]

    await eventually(is_said)
    rooms = {room.name for room in (await rig.livekit.room.list_rooms(api.ListRoomsRequest())).rooms}
    assert rooms == {_SOME_NAME, "lobby"}, "rooms of others are left alone, whatever they are called"
    assert (await operator.metrics())("roomkeeper_put_right_total", what="room-closed") == 1
