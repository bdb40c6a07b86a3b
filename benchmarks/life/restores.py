"""LiveKit is killed in the middle of calls, stays away for some seconds, and comes back without its rooms.

Both clocks start at its first answer. One stops when LiveKit lists the rooms of all calls again. The other one stops,
for each call, when both clients say that they are back. A gateway passes the notice `rejoin` on to them; by themselves,
clients would try again only every one to five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence

import aiohttp

from benchmarks.figures import Measure, Samples
from benchmarks.life.calls import Call, begin
from benchmarks.life.scene import Scene
from benchmarks.life.sight import ACTIVE
from benchmarks.watcher import MatchFailed
from controller.clients.livekit import LiveKitClient
from controller.clients.redis.keys import Keys
from controller.clock import ServerClock
from controller.errors import BackendError
from sandbox.callers import Callers
from sandbox.people import Person
from sandbox.stack import Stack

LIVEKIT = "livekit-server"
_CALLS_AT_ONCE = 5
_AWAY_SECONDS = (1.0, 3.0, 5.0)
_LOOK_AGAIN_SECONDS = 0.005
_PATIENCE_SECONDS = 40.0
_TALK_SECONDS = 1.0


async def measure(scene: Scene, stack: Stack, kills: int) -> Samples:
    """Kill LiveKit `kills` times, each time in the middle of a few new calls."""
    rooms_ms: list[float] = []
    people_ms: list[float] = []
    access = scene.access
    async with aiohttp.ClientSession() as http:
        livekit = LiveKitClient(
            http, access.livekit_http_url, access.livekit_api_key, access.livekit_api_secret, ServerClock()
        )
        for number, away_seconds in zip(range(kills), itertools.cycle(_AWAY_SECONDS), strict=False):
            async with contextlib.AsyncExitStack() as exits:
                calls = [await _call(scene, number * _CALLS_AT_ONCE + one, exits) for one in range(_CALLS_AT_ONCE)]
                await asyncio.sleep(_TALK_SECONDS)
                seen = [len(person.events) for _, people in calls for person in people]
                await stack.kill(LIVEKIT)
                await asyncio.sleep(away_seconds)
                await exits.enter_async_context(_gateway(scene, calls))
                back = [
                    asyncio.create_task(_is_back(person, after))
                    for person, after in zip((one for _, people in calls for one in people), seen, strict=True)
                ]
                starting = asyncio.create_task(stack.start_program(LIVEKIT))
                answered, listed = await _until_listed(livekit, {call.room for call, _ in calls})
                await starting
                moments = await asyncio.gather(*back)
                rooms_ms.append((listed - answered) / 1e6)
                people_ms += [(max(pair) - answered) / 1e6 for pair in zip(moments[::2], moments[1::2], strict=True)]
                await asyncio.gather(*(_end(call) for call, _ in calls))
    return {Measure.ROOMS_BACK: rooms_ms, Measure.PEOPLE_BACK: people_ms}


def _gateway(scene: Scene, calls: Sequence[tuple[Call, tuple[Person, ...]]]) -> Callers:
    """Return a gateway that holds the connections of these users."""
    keys = Keys(scene.access.cluster_id, scene.access.namespace)
    users = ((user, person) for call, people in calls for user, person in zip(call.users, people, strict=True))
    return Callers(scene.access.redis_url, {keys.notify(user): person for user, person in users})


async def _call(scene: Scene, number: int, exits: contextlib.AsyncExitStack) -> tuple[Call, tuple[Person, ...]]:
    """Begin a call of two real clients."""
    call = await begin(scene, number)
    people = await call.join(exits)
    await call.status_says(ACTIVE)
    return call, people


async def _until_listed(livekit: LiveKitClient, names: set[str]) -> tuple[int, int]:
    """Return when LiveKit answered first, and when it listed all of these rooms."""
    answered: int | None = None
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(BackendError):
                rooms = await livekit.list_rooms()
                now = time.monotonic_ns()
                answered = answered or now
                if names <= {room.name for room in rooms}:
                    return answered, now
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _is_back(person: Person, after: int) -> int:
    """Return when the client said that it is in the room again. Raises MatchFailed if it gave up."""
    event = await person.wait_for(
        "reconnected", "rejoined", "disconnected", "failed", timeout=_PATIENCE_SECONDS, after=after
    )
    if event["event"] in {"disconnected", "failed"}:
        raise MatchFailed(f"the client of {person.identity} gave up before its room was back")
    return time.monotonic_ns()


async def _end(call: Call) -> None:
    await call.scene.sight.expect_settled(*call.users)
    await call.skip()
    await call.settled("WAITING", "WAITING")
    for user in call.users:
        await call.scene.gateway.leave(user)
