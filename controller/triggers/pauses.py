"""Many objects one after another, with a pause after a few of them: users wait for other things meanwhile.

Neighbors: `triggers.listing` and `triggers.intake` take in objects this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

AT_ONCE: Final = 25
"""So many objects are taken in within one turn of the event loop: a new one costs a tenth of a millisecond and more."""


async def with_pauses(objects: Iterable[T]) -> AsyncIterator[T]:
    """Yield the objects; other tasks have a turn after each 25."""
    for number, one in enumerate(objects, 1):
        yield one
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
