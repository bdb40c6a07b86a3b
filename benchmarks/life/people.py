"""Simulated people leave and vanish: WebRTC clients in processes of their own, LiveKit's own webhooks.

For a client that says goodbye, the figure is the time from its order to leave until both users are settled, minus
`leaveSeconds`. For a client that is killed, it is the time from LiveKit's webhook (which comes after some 20 s) until
both users are settled, minus `reconnectSeconds`. On the way this module also measures how long LiveKit's webhooks about
clients that join and leave take from the tap to the status. While the calls with a killed client wait for LiveKit, the
other calls take their turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import Measure, Samples
from benchmarks.life.calls import JOINED, LEFT, Call, begin
from benchmarks.life.scene import Scene
from benchmarks.life.sight import ACTIVE, person_is
from benchmarks.load import side_by_side
from sandbox.people import Person

_LEAVE_SECONDS = 1
_RECONNECT_SECONDS = 1
# How long every simulated person stays at least.
_TALK_SECONDS = 1.0
_TIMEOUTS = {"leaveSeconds": _LEAVE_SECONDS, "reconnectSeconds": _RECONNECT_SECONDS}


@dataclass
class _Found:
    webhook_ms: list[float] = field(default_factory=list)
    leave_ms: list[float] = field(default_factory=list)
    kill_ms: list[float] = field(default_factory=list)

    def webhook(self, told: int, seen: int) -> None:
        """Record the time from a webhook to the status. If polling was faster than the webhook, record nothing."""
        if seen > told:
            self.webhook_ms.append((seen - told) / 1e6)


async def measure(scene: Scene, leaves: int, kills: int) -> Samples:
    """Measure `kills` calls side by side, each with one killed client, and `leaves` others, one after another."""
    found = _Found()
    async with contextlib.AsyncExitStack() as people, side_by_side() as killing:
        for number in range(kills):
            call, who = await _call(scene, number, people, found)
            killing.create_task(_kill(call, who, found))
        for number in range(kills, kills + leaves):
            call, who = await _call(scene, number, people, found)
            await _leave(call, who, found)
    return {Measure.LIVEKIT_WEBHOOK: found.webhook_ms, Measure.LEAVE: found.leave_ms, Measure.KILL: found.kill_ms}


async def _call(scene: Scene, number: int, people: contextlib.AsyncExitStack, found: _Found) -> tuple[Call, Person]:
    """Return a call that is up, and the person who will leave it."""
    call = await begin(scene, number, _TIMEOUTS)
    both = await call.join(people)
    for user in call.users:
        told, seen = await asyncio.gather(
            scene.tapped.when(JOINED, call.room, user), call.status_says(person_is(user, "Connected"))
        )
        found.webhook(told, seen)
    await call.status_says(ACTIVE)
    await scene.sight.expect_settled(*call.users)
    return call, both[1]


async def _leave(call: Call, who: Person, found: _Found) -> None:
    await asyncio.sleep(_TALK_SECONDS)
    began = time.monotonic_ns()
    leaving = asyncio.create_task(who.leave())
    told, seen, settled = await asyncio.gather(*_end(call, who))
    await leaving
    found.webhook(told, seen)
    found.leave_ms.append((settled - began) / 1e6 - _LEAVE_SECONDS * 1000)


async def _kill(call: Call, who: Person, found: _Found) -> None:
    await who.kill()
    told, seen, settled = await asyncio.gather(*_end(call, who))
    found.webhook(told, seen)
    found.kill_ms.append((settled - told) / 1e6 - _RECONNECT_SECONDS * 1000)


def _end(call: Call, who: Person) -> tuple[Coroutine[Any, Any, int], ...]:
    """Return the moments of LiveKit's webhook, of the status that says so, and of both users being settled."""
    return (
        call.scene.tapped.when(LEFT, call.room, who.identity),
        call.status_says(person_is(who.identity, "Reconnecting")),
        call.settled("WAITING", "IDLE"),
    )
