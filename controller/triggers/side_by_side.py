"""One step for many pools side by side, some at a time.

The commands of all that begin together leave with one write, and their answers come with few reads: a round over a
hundred pools costs half of what it costs one after another. They are few, because a command for a user that comes
meanwhile waits for those that were sent before it, and because each takes a part of the same turn of the event loop.
Neighbors: `triggers.heartbeats`, `triggers.people`, `triggers.flags` and `triggers.audit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

_AT_ONCE = 20


async def side_by_side(step: Callable[[T], Awaitable[None]], pools: Iterable[T]) -> None:
    """Await `step` for each pool, 20 at a time. A step isolates its own failures: one that fails ends all."""
    rest = iter(pools)
    while some := list(islice(rest, _AT_ONCE)):
        await asyncio.gather(*(step(pool) for pool in some))
