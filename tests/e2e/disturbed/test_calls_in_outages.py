"""Thirty calls are up while Redis, LiveKit and the API server go away or refuse, one after another and all at once.

This kills programs of the stack, so the module has one of its own. `make outages` runs it with outages of a minute:
then clients of LiveKit have given up, the lease has run out, and people join again.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from livekit import api

from controller.api.room import Room
from controller.clients.availability import ANSWERS, ANSWERS_AGAIN, SILENT
from sandbox.endpoints import Endpoints
from sandbox.stack import Stack, StackOptions
from tests import manifests
from tests.support.api_servers import kubeconfig_at
from tests.support.chaos import frozen
from tests.support.kube import condition, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.running_calls import LASTING, Probes, RunningCalls
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import eventually

LIVEKIT, REDIS = "livekit-server", "redis-server"
_CALLS, _WITH_CLIENTS = 30, 5
_AWAY_SECONDS = float(os.environ.get("ROOMKEEPER_TEST_OUTAGE_SECONDS", "5"))
_REFUSED_SECONDS = _AWAY_SECONDS if "ROOMKEEPER_TEST_OUTAGE_SECONDS" in os.environ else 0.5


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory, audit_log: Path, real_programs: None) -> AsyncIterator[Stack]:
    log = audit_log.with_suffix(".outages.log")
    async with Stack(
        StackOptions(tmp_path_factory.mktemp("outages") / "stack", operator=False, audit_log=log)
    ) as stack:
        yield stack


@pytest.fixture
def where(own: Stack) -> Endpoints:
    return own.endpoints


@pytest.fixture
async def line(where: Endpoints) -> AsyncIterator[TcpProxy]:
    """The line between the operator and the API server."""
    server = urlsplit(where.server)
    assert server.hostname is not None
    assert server.port is not None
    async with TcpProxy(server.hostname, server.port) as proxy:
        yield proxy


async def test_thirty_calls_outlive_outages_of_each_backend_and_of_all_at_once(
    line: TcpProxy, rig: Rig, own: Stack, tmp_path: Path
) -> None:
    operator = rig.operators.make()
    known = Path(operator.environment["KUBECONFIG"])
    operator.environment["KUBECONFIG"] = kubeconfig_at(line.port, known, tmp_path / "kubeconfig")
    await operator.start()
    await eventually(operator.leads)
    async with RunningCalls(rig, calls=_CALLS, with_clients=_WITH_CLIENTS) as calls, Probes(operator):
        await _redis_comes_back_older(rig, own)
        await calls.go_on()
        await _redis_refuses_writes(rig, operator)
        await calls.go_on()
        await _livekit_hangs(rig, operator)
        await calls.go_on()
        await _no_room_counts_as_lost(rig)
        await _all_are_away(rig, own, line, operator)
        foreign = await rig.livekit.room.create_room(api.CreateRoomRequest(name="of-others", empty_timeout=600))
        await calls.go_on()
        await calls.end()
    rooms = await rig.livekit.room.list_rooms(api.ListRoomsRequest(names=[foreign.name]))
    assert [room.sid for room in rooms.rooms] == [foreign.sid]
    for backend in ("Redis", "LiveKit", "Kubernetes"):
        await _is_open(operator, backend, expected=False)
        lines = [json.loads(line) for line in operator.log.splitlines() if line.startswith("{")]
        told = [entry for entry in lines if entry.get("backend") == backend]
        says = [entry["event"] for entry in told if entry["event"].startswith("a backend")]
        assert says[:3] == [ANSWERS, SILENT, ANSWERS_AGAIN]


async def _redis_comes_back_older(rig: Rig, own: Stack) -> None:
    """A call that has ended since then is over all the same, and one that was made since then goes on."""
    await rig.enqueue("carol", "dave", "erin", "frank")
    ended = await rig.ready("carol", "dave", name="ended")
    await rig.redis.save()
    await rig.kube.patch("Match", "ended", manifests.termination("End", "carol"))
    await rig.kube.match_until(lambda match: is_true(match, "Finished"), "ended")
    await rig.expect_states(carol="IDLE", dave="WAITING")
    await rig.ready("erin", "frank", name="later", **LASTING)
    await own.kill(REDIS)
    await _start_redis(rig, own)
    await rig.expect_states(carol="IDLE", dave="WAITING", erin="CONNECTING", frank="CONNECTING")
    assert ended.metadata.uid not in await rig.redis.zrange(rig.keys.live(), 0, -1)


async def _redis_refuses_writes(rig: Rig, operator: Operator) -> None:
    """It is full, and then a replica. A Match that is made meanwhile follows."""
    redis = rig.redis
    await _made_while_refused(rig, "full", redis.config_set("maxmemory", 1), redis.config_set("maxmemory", 0))
    await _made_while_refused(rig, "replica", redis.replicaof("127.0.0.1", "1"), redis.replicaof("NO", "ONE"))
    assert "OOM" in operator.log
    assert "READONLY" in operator.log


async def _made_while_refused(rig: Rig, name: str, refuse: Awaitable[object], take: Awaitable[object]) -> None:
    pair = (f"ines-{name}", f"jack-{name}")
    await rig.enqueue(*pair)
    await refuse
    away = asyncio.create_task(asyncio.sleep(_REFUSED_SECONDS))
    await rig.kube.create(manifests.match(*pair, name=name, **LASTING))
    await rig.kube.match_until(lambda match: is_true(match, "Degraded"), name)
    await away
    await take
    await rig.kube.match_until(lambda match: is_true(match, "Ready") and not is_true(match, "Degraded"), name)


async def _livekit_hangs(rig: Rig, operator: Operator) -> None:
    """It goes on with its rooms. A Match that is made meanwhile follows."""
    await rig.enqueue("gina", "henry")
    with frozen(rig.where, LIVEKIT):
        away = asyncio.create_task(asyncio.sleep(_AWAY_SECONDS))
        await rig.kube.create(manifests.match("gina", "henry", name="meanwhile", **LASTING))
        found = await rig.kube.match_until(lambda match: is_true(match, "Degraded"), "meanwhile")
        assert "LiveKit" in condition(found, "Degraded").message
        await _is_open(operator, "LiveKit")
        await away
    await rig.kube.match_until(lambda match: is_true(match, "Ready") and not is_true(match, "Degraded"), "meanwhile")


async def _no_room_counts_as_lost(rig: Rig) -> None:
    """What does not answer has lost nothing: no room was missing, and none was made again."""
    for body in await rig.kube.list("Room"):
        status = Room.model_validate(body).status
        assert (status.lost_at, status.restores or 0) == (None, 0), body["metadata"]["name"]
    assert not [event["message"] for event in await rig.events() if event["reason"] in {"Missing", "Restored"}]


async def _all_are_away(rig: Rig, own: Stack, line: TcpProxy, operator: Operator) -> None:
    """Redis comes back empty, and LiveKit without its rooms."""
    await line.cut()
    await asyncio.gather(own.kill(REDIS), own.kill(LIVEKIT))
    away = asyncio.create_task(asyncio.sleep(_AWAY_SECONDS))
    for backend in ("Redis", "LiveKit", "Kubernetes"):
        await _is_open(operator, backend)
    await away
    (rig.where.directory / "data" / "redis" / "dump.rdb").unlink()
    await asyncio.gather(_start_redis(rig, own), own.start_program(LIVEKIT))
    await line.restore()


async def _start_redis(rig: Rig, own: Stack) -> None:
    await own.start_program(REDIS)
    await rig.redis.connection_pool.disconnect()  # the test's own connections ended with the server


async def _is_open(operator: Operator, backend: str, *, expected: bool = True) -> None:
    """Wait until the breaker of a backend is open, or closed."""

    async def agrees() -> None:
        state = (await operator.metrics())("roomkeeper_breaker_state", backend=backend)
        assert (state > 0) is expected, f"{backend}: {state}\n{operator.log[-3000:]}"

    await eventually(agrees)
