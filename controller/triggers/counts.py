"""Who is in the rooms of one LiveKit server: lists of participants, a few requests at a time.

A room about which a witness disagrees goes before those that were merely never read, as all rooms are after a start:
ten thousand of them would hold up a user who has just come or gone. No room is read twice at the same time. Neighbors:
`triggers.poll` asks, `views.livekit` keeps the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

_AT_ONCE = 8
# Reads for which no user waits take a part of every turn of the event loop as well.
_UNREAD_AT_ONCE = 4


class RoomCounts:
    """The rooms to be read, each once. `read` reads one of them, and raises nothing."""

    def __init__(self, read: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        self._read = read
        self._changed: OrderedDict[str, None] = OrderedDict()
        self._unread: OrderedDict[str, None] = OrderedDict()
        self._again: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._are_done = asyncio.Event()

    def ask(self, names: Iterable[str], *, is_doubted: bool = False) -> None:
        """Read rooms in which something changed. A room that is being read is read once more if it `is_doubted`."""
        for name in names:
            if name not in self._tasks:
                self._unread.pop(name, None)
                self._changed.setdefault(name)
            elif is_doubted:
                self._again.add(name)
        self._fill()

    def ask_unread(self, names: Iterable[str]) -> None:
        """Read rooms that were never read, after all others."""
        for name in names:
            if name not in self._tasks and name not in self._changed:
                self._unread.setdefault(name)
        self._fill()

    async def rest(self, patience_seconds: float) -> None:
        """Return when nothing is left to be read, or after so many seconds."""
        if self._tasks:
            self._are_done.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    await self._are_done.wait()

    async def close(self) -> None:
        """End the requests that are under way, and forget the rest."""
        self._changed.clear()
        self._unread.clear()
        self._again.clear()
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        while (name := self._next()) is not None:
            task = self._tasks[name] = asyncio.get_running_loop().create_task(self._read(name), name=f"count {name}")
            task.add_done_callback(partial(self._done, name))

    def _next(self) -> str | None:
        for waiting, at_once in ((self._changed, _AT_ONCE), (self._unread, _UNREAD_AT_ONCE)):
            if waiting and len(self._tasks) < at_once:
                return waiting.popitem(last=False)[0]
        return None

    def _done(self, name: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if name in self._again:
            self._again.discard(name)
            self._changed.setdefault(name)
        self._fill()
        if not self._tasks:
            self._are_done.set()
