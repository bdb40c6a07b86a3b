"""Objects are deleted while LiveKit, Redis or both are away: they go, and what they left behind goes later."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from controller.api.names import room_name
from tests import manifests
from tests.support.chaos import frozen
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_PAIRS = [(f"m{n}", f"a{n}", f"b{n}") for n in range(20)]
_LASTING = {"emptyTimeoutSeconds": 700}
_USERS = [user for _, *pair in _PAIRS for user in pair]


@pytest.mark.parametrize(
    "programs", [("livekit-server",), ("redis-server",), ("livekit-server", "redis-server")], ids=" and ".join
)
async def test_a_namespace_with_twenty_calls_goes_while_a_backend_is_away(rig: Rig, programs: tuple[str, ...]) -> None:
    operator = await rig.operators.start(release_seconds="3", sweep_seconds="2")
    await rig.enqueue(*_USERS)
    # LiveKit itself would close their rooms, which no user joins, only in minutes.
    await asyncio.gather(*(rig.kube.create(manifests.match(*pair, name=name, room=_LASTING)) for name, *pair in _PAIRS))
    for name, *_ in _PAIRS:
        await rig.kube.match_until(lambda match: is_true(match, "Ready"), name)
    with contextlib.ExitStack() as away:
        for program in programs:
            away.enter_context(frozen(rig.where, program))
        await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{rig.kube.namespace}")

        async def is_empty() -> None:
            assert await rig.kube.list("Match") == []
            assert await rig.kube.list("Room") == []

        await eventually(is_empty, 60)
        backend = {"livekit-server": "LiveKit", "redis-server": "Redis"}
        for program in programs:
            released = (await operator.metrics())(
                "roomkeeper_released_without_total", kind="Room", backend=backend[program]
            )
            assert released == 20

    async def nothing_is_left() -> None:
        assert set((await rig.states(*_USERS)).values()) == {"WAITING"}
        assert set(await rig.queue()) == set(_USERS)
        assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []
        assert await rig.livekit_rooms() == {}

    await eventually(nothing_is_left, 120)


async def test_a_match_that_goes_without_livekit_says_so(rig: Rig) -> None:
    operator = await rig.operators.start(release_seconds="3", sweep_seconds="2")
    match = await rig.ready()
    with frozen(rig.where, "livekit-server"):
        await rig.kube.delete("Match", "match")
        await rig.kube.gone("Match", "match", 30)
    assert await rig.states("alice", "bob") == {"alice": "IDLE", "bob": "IDLE"}
    assert "a deletion no longer waits for LiveKit" in operator.log

    async def is_told() -> None:
        told = [event for event in await rig.events() if event["reason"] == "CleanupPostponed"]
        assert [event["involvedObject"]["name"] for event in told] == [room_name(match.metadata.uid)]

    await eventually(is_told)
