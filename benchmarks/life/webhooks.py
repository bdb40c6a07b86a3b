"""From a webhook to the Match's status, while nothing else happens.

The clock starts just before the POST and stops when the bytes of the status that says so arrive. Each call gives three
samples: the first participant joins, the second one joins (the call is up), the second one leaves.
"""

from __future__ import annotations

import asyncio

from benchmarks.figures import Measure, Samples
from benchmarks.life.calls import JOINED, LEFT, begin
from benchmarks.life.scene import Scene
from benchmarks.life.sight import person_is

# Shortly after a webhook the operator reads who is in the room. The next call begins when it has done so.
_ECHO_SECONDS = 0.3
_WARM_UP = 3


async def measure(scene: Scene, count: int) -> Samples:
    """Measure `count` calls, one after another."""
    found: list[float] = []
    for number in range(_WARM_UP + count):
        call = await begin(scene, number)
        one, other = call.users
        for event, who, state, reason in (
            (JOINED, one, "Connected", ""),
            (JOINED, other, "Connected", ""),
            (LEFT, other, "Reconnecting", "CLIENT_INITIATED"),
        ):
            sent = await call.tell(event, who, reason)
            seen = await call.status_says(person_is(who, state))
            if number >= _WARM_UP:
                found.append((seen - sent) / 1e6)
        await asyncio.sleep(_ECHO_SECONDS)
    return {Measure.WEBHOOK: found}
