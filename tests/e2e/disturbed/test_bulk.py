"""What a user waits for goes before what is bulk."""

from __future__ import annotations

import asyncio

from tests import manifests
from tests.support.chaos import frozen
from tests.support.gateways import send
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_ROOMS = 60


async def test_a_skip_does_not_wait_behind_rooms_that_a_hung_livekit_holds(rig: Rig) -> None:
    """Each request to LiveKit holds one of eight hands for four seconds, and sixty Rooms have one to send."""
    operator = await rig.operators.start(concurrency="8")
    await rig.enqueue("alice", "bob")
    match = await rig.ready()
    await _standing_rooms(rig)
    with frozen(rig.where, "livekit-server"):
        await asyncio.gather(*(rig.kube.delete("Room", name) for name in _names()))

        async def is_held() -> None:
            assert (await operator.metrics())("roomkeeper_keys_in_hand") >= 4

        await eventually(is_held)
        await send(rig, "skip", "alice", match=match.metadata.uid)
        await rig.expect_states(alice="WAITING", bob="WAITING")
        given_up = (await operator.metrics())(
            "roomkeeper_backend_call_errors_total", backend="LiveKit", operation="DeleteRoom"
        )
        assert given_up <= 8, "the users waited for requests to LiveKit that concern other rooms"
    for name in _names():
        await rig.kube.gone("Room", name)


def _names() -> list[str]:
    return [f"lobby-{number}" for number in range(_ROOMS)]


async def _standing_rooms(rig: Rig) -> None:
    await asyncio.gather(*(rig.kube.create(manifests.room(name)) for name in _names()))
    for name in _names():
        await rig.kube.room_until(lambda room: is_true(room, "Ready"), name)
