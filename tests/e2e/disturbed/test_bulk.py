"""Bulk: what a user waits for goes first, and nothing of hundreds of Matches is lost on the way.

`make outages` applies a thousand Matches instead of three hundred.
"""

from __future__ import annotations

import asyncio
import os

from controller.api.match import Match
from tests import manifests
from tests.support.chaos import frozen
from tests.support.gateways import send
from tests.support.invariants import assert_one_match_per_user
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_ROOMS = 60
_MATCHES = int(os.environ.get("ROOMKEEPER_TEST_BULK_MATCHES", "300"))
_AT_ONCE = 32
_FINISH_SECONDS = 120.0


async def test_a_skip_does_not_wait_behind_rooms_that_a_hung_livekit_holds(rig: Rig) -> None:
    """Each request to LiveKit holds one of eight hands for four seconds, and sixty Rooms have one to send."""
    operator = await rig.operators.start(concurrency="8")
    await rig.enqueue("alice", "bob")
    match = await rig.ready()
    await _standing_rooms(rig)
    with frozen(rig.where, "livekit-server"):
        await asyncio.gather(*(rig.kube.delete("Room", name) for name in _names()))

        async def is_held() -> None:
            assert (await operator.metrics())("roomkeeper_workqueue_in_hand") >= 4

        await eventually(is_held)
        await send(rig, "skip", "alice", match=match.metadata.uid)
        await rig.expect_states(alice="WAITING", bob="WAITING")
        given_up = (await operator.metrics())(
            "roomkeeper_backend_call_errors_total", backend="LiveKit", operation="DeleteRoom"
        )
        assert given_up <= 8, "the users waited for requests to LiveKit that concern other rooms"
    for name in _names():
        await rig.kube.gone("Room", name)


async def test_of_many_matches_half_are_deleted_and_the_operator_is_killed_on_the_way(rig: Rig) -> None:
    """A user whose Match was deleted waits at the old place; all others have a room; each user is held once."""
    operator = await rig.operators.start()
    hands = asyncio.Semaphore(_AT_ONCE)
    places: dict[str, int] = {}

    async def apply(number: int) -> None:
        async with hands:
            users = (f"a-{number}", f"b-{number}")
            places.update(zip(users, await rig.enqueue(*users), strict=True))
            spec = {"timeouts": {"readySeconds": 300, "connectSeconds": 600}, "room": {"emptyTimeoutSeconds": 700}}
            await rig.kube.create(manifests.match(*users, name=f"bulk-{number}", admission="Queued", **spec))

    async def delete(number: int) -> None:
        async with hands:
            await rig.kube.delete("Match", f"bulk-{number}")

    await asyncio.gather(*(apply(number) for number in range(_MATCHES)))
    deleting = asyncio.gather(*(delete(number) for number in range(0, _MATCHES, 2)))
    await operator.kill()
    await deleting
    await operator.start()

    waiting = {who: place for who, place in places.items() if int(who[2:]) % 2 == 0}

    async def all_is_done() -> None:
        await _counted(rig, len(waiting), _MATCHES // 2)
        found = {body["metadata"]["name"]: Match.model_validate(body) for body in await rig.kube.list("Match")}
        assert found.keys() == {f"bulk-{number}" for number in range(1, _MATCHES, 2)}
        ready = sum(is_true(match, "Ready") for match in found.values())
        assert ready == len(found), f"{ready} of {len(found)} are Ready"

    await eventually(all_is_done, _FINISH_SECONDS)
    assert await rig.queue() == waiting
    assert len(await rig.kube.list("Secret")) == _MATCHES // 2
    await assert_one_match_per_user(rig)
    await asyncio.gather(*(delete(number) for number in range(1, _MATCHES, 2)))

    async def all_are_free() -> None:
        await _counted(rig, len(places), 0)
        assert await rig.kube.list("Match") == []
        assert await rig.queue() == places

    await eventually(all_are_free, _FINISH_SECONDS)


async def _counted(rig: Rig, waiting: int, rooms: int) -> None:
    """What is cheap to ask, before everything is read. Asked without a pause, it would slow the operator down."""
    await asyncio.sleep(1)
    assert await rig.redis.zcard(rig.keys.queue()) == waiting
    assert len(await rig.livekit_rooms()) == rooms


def _names() -> list[str]:
    return [f"lobby-{number}" for number in range(_ROOMS)]


async def _standing_rooms(rig: Rig) -> None:
    await asyncio.gather(*(rig.kube.create(manifests.room(name)) for name in _names()))
    for name in _names():
        await rig.kube.room_until(lambda room: is_true(room, "Ready"), name)
