"""The objects that requests of ours change at this moment.

The watch often tells of a change before the answer to the request that made it is read. What listens to the watch can
wait for that answer here, which says the same, and then knows the change for an echo. Neighbors: `clients.kubernetes`
notes its requests, `triggers.echoes` waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class UnderWay:
    """Requests that were sent and not answered yet, by the path of their object."""

    def __init__(self) -> None:
        self._answered: dict[str, asyncio.Event] = {}

    @contextlib.contextmanager
    def changing(self, path: str) -> Iterator[None]:
        """A request about the object at `path`, from before it is sent until its caller goes on with the answer."""
        answered = self._answered[path] = asyncio.Event()
        try:
            yield
        finally:
            answered.set()
            if self._answered.get(path) is answered:  # else a later request is under way
                del self._answered[path]

    async def until_answered(self, path: str, seconds: float) -> bool:
        """Wait for the latest request about the object, for so long at most. Returns whether there was one."""
        answered = self._answered.get(path)
        if answered is None:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await answered.wait()
        return True
