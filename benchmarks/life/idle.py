"""What Roomkeeper costs while nothing happens, with live calls in many namespaces: CPU and memory.

The operator makes all Matches and Rooms itself. Webhooks of the benchmark say that both participants are in the room;
LiveKit's rooms are there, and empty. (Where its list comes between the two webhooks, a Match stays Connecting; it costs
the same.) One write per pool and interval stands in for the gateways that send the beats of
all users. Then nothing else happens, and the benchmark reads the CPU time of the operator. The namespaces stay behind,
so this is the last measurement on its stack. Neighbors: `life.capacity` measures one namespace at several sizes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import redis.asyncio as aioredis

from benchmarks.access import Access, Body, call
from benchmarks.figures import CapacityFigures
from benchmarks.life.calls import JOINED, STAYING
from benchmarks.life.capacity import BEAT_SECONDS, beside, memory_mib
from benchmarks.life.scene import Scene
from benchmarks.load import Batch, in_flight, match_manifest
from benchmarks.measure import During, nothing, process_cpu_ms
from controller.api.names import MANAGED_LABEL, MATCH, ROOM, livekit_room_name, room_name
from controller.api.phases import MatchPhase
from controller.clients.redis.keys import Keys
from controller.facts.livekit import Mark

_NAMESPACES_AT_ONCE = 2
_CALLS_AT_ONCE = 8
_PATIENCE_SECONDS = 1800.0
_LOOK_AGAIN_SECONDS = 0.5
# A tenth of a core: what is left to write of the rooms that LiveKit's polls find empty takes more.
_QUIET_MS_PER_S = 100.0
_UP = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


@dataclass(frozen=True)
class Sizes:
    """How many namespaces there are, how many live calls each has, and for how long they are measured.

    Before that, the operator has to be quiet for `quiet_seconds`.
    """

    namespaces: int
    calls: int
    seconds: float
    quiet_seconds: float


FULL = Sizes(100, 100, 60.0, 5.0)
QUICK = Sizes(3, 4, 1.0, 1.0)


async def measure(scene: Scene, sizes: Sizes, during: During = nothing) -> CapacityFigures:
    """Make the calls, wait until the operator is quiet, and measure."""
    pools = [Pool(replace(scene.access, namespace=f"idle-{number}"), scene) for number in range(sizes.namespaces)]

    async def fill(number: int) -> None:
        await pools[number].fill(sizes.calls)

    await in_flight(Batch(0, sizes.namespaces, _NAMESPACES_AT_ONCE, _PATIENCE_SECONDS), fill)
    pid = scene.operator_pid
    async with _beating(scene.access.redis_url, pools), asyncio.timeout(_PATIENCE_SECONDS):
        while await _cpu_ms_per_s(pid, sizes.quiet_seconds) > _QUIET_MS_PER_S:
            pass
        await asyncio.sleep(sizes.quiet_seconds)
        async with during(pid):
            cpu_ms_per_s = await _cpu_ms_per_s(pid, sizes.seconds)
    return CapacityFigures(
        sizes.namespaces * sizes.calls, memory_mib(pid), cpu_ms_per_s, sizes.seconds, namespaces=sizes.namespaces
    )


async def _cpu_ms_per_s(pid: int, seconds: float) -> float:
    began, cpu_ms = time.monotonic(), process_cpu_ms(pid)
    await asyncio.sleep(seconds)
    return (process_cpu_ms(pid) - cpu_ms) / (time.monotonic() - began)


class Pool:
    """One namespace with its calls."""

    def __init__(self, access: Access, scene: Scene) -> None:
        self._access = access
        self._scene = scene
        self.users: list[str] = []

    @property
    def heartbeats(self) -> str:
        """The key of the beats."""
        return Keys(self._access.cluster_id, self._access.namespace).heartbeats()

    async def fill(self, calls: int) -> None:
        """Make the namespace and so many Matches; return when the participants of all of them came."""
        access, admin = self._access, self._scene.admin
        metadata = {"name": access.namespace, "labels": {MANAGED_LABEL: "true"}}
        await call(admin, "POST", f"{access.server}/api/v1/namespaces", {"metadata": metadata})

        async def create(number: int) -> None:
            manifest = match_manifest(number, **STAYING)
            self.users += [person["identity"] for person in manifest["spec"]["participants"]]
            await call(admin, "POST", access.collection(MATCH.plural), manifest)

        await in_flight(Batch(0, calls, _CALLS_AT_ONCE, _PATIENCE_SECONDS), create)
        matches = await self._until_up()
        found = (await call(admin, "GET", access.collection(ROOM.plural)))["items"]
        rooms = {room["metadata"]["name"]: room for room in found}

        async def join(number: int) -> None:
            match = matches[number]
            await self._join(match, rooms[room_name(match["metadata"]["uid"])])

        await in_flight(Batch(0, calls, _CALLS_AT_ONCE, _PATIENCE_SECONDS), join)
        await self._until_up()

    async def _join(self, match: Body, room: Body) -> None:
        access, uid, room_uid = self._access, match["metadata"]["uid"], room["metadata"]["uid"]
        mark = Mark(access.cluster_id, access.namespace, room["metadata"]["name"], uid, room_uid)
        name = livekit_room_name(access.cluster_id, access.namespace, room_uid)
        people = (person["identity"] for person in match["spec"]["participants"])
        await asyncio.gather(*(self._scene.webhooks.send(JOINED, name, mark, who) for who in people))

    async def _until_up(self) -> list[Body]:
        """Wait until all Matches are Ready; return them."""
        url = self._access.collection(MATCH.plural)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                matches: list[Body] = (await call(self._scene.admin, "GET", url))["items"]
                if all(match.get("status", {}).get("phase") in _UP for match in matches):
                    return matches


@contextlib.asynccontextmanager
async def _beating(redis_url: str, pools: Sequence[Pool]) -> AsyncIterator[None]:
    """Let all users of a pool beat together, once per interval, and pool after pool."""
    redis = aioredis.Redis.from_url(redis_url)

    async def beat() -> None:
        while True:
            for pool in pools:
                seconds, _ = await redis.time()
                await redis.zadd(pool.heartbeats, dict.fromkeys(pool.users, seconds * 1000))
                await asyncio.sleep(BEAT_SECONDS / len(pools))

    try:
        async with beside(beat()):
            yield
    finally:
        await redis.aclose()
