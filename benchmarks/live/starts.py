"""A start of the operator, followed until each Match and Room was decided once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from benchmarks.live.replica import Replica
from benchmarks.live.ticks import Field

_PATIENCE_SECONDS = 600.0
_LOOK_AGAIN_SECONDS = 0.01


@dataclass(frozen=True)
class Start:
    """How long it took from `since` until the first key was decided, and until all were."""

    first_s: float
    all_s: float
    longest_turn_ms: float
    """Of the event loop, from the moment at which it is ready, until all were decided."""


async def first_decision(replica: Replica) -> float:
    """Return when it has decided a key (monotonic seconds)."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not replica.ticks[Field.DECISIONS]:
            replica.check()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return time.monotonic()


async def all_decided(replica: Replica, keys: int) -> float:
    """Return when it had decided so many keys, and none waited any longer (monotonic seconds)."""
    ticks = replica.ticks
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while ticks[Field.DECISIONS] < keys or ticks[Field.WAITING]:
            replica.check()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return time.monotonic()


async def followed(replica: Replica, since: float, keys: int) -> Start:
    """Follow a replica that was ready already. `keys`: Matches and Rooms that live."""
    first = await first_decision(replica)
    last = await all_decided(replica, keys)
    return Start(first - since, last - since, replica.ticks.sleep())
