"""The lock of the sweeps: one sweep works at a time, also beside one that was begun by hand.

A sweep takes the lock for one step (a light round, or some keys of a deep one) and gives it back, so no other one waits
for long. One that dies leaves a lock that ends by itself, and the lock of an operator falls to the next leader at once.
Neighbors: `clients.redis.sweeps` has the script, `triggers.sweep` and `cli.sweep` take the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from controller.clients.redis.sweeps import Busy, Notes, SweepStore
from controller.errors import RoomkeeperError

LOCK_SECONDS: Final = 30.0


class SweepTaken(RoomkeeperError):
    """Another sweep works, or has taken the lock away from this one."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"another sweep works: {owner}")
        self.owner = owner


class SweepLock:
    """The lock, from the view of one sweep that calls itself `owner`. Every method may raise BackendError."""

    def __init__(self, store: SweepStore, owner: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._owner = owner
        self._monotonic = monotonic
        self._kept_at = 0.0

    async def take(self, *, force: bool = False) -> Notes:
        """Take the lock; return the notes. Raises SweepTaken if another sweep has it, unless `force` takes it away."""
        sent_at = self._monotonic()
        notes = _notes(await self._store.keep(self._owner, ttl_seconds=LOCK_SECONDS, force=force))
        self._kept_at = sent_at
        return notes

    async def keep(self) -> None:
        """Keep the lock; call this before each item. Raises SweepTaken if it was taken away."""
        if self._monotonic() - self._kept_at > LOCK_SECONDS / 3:
            await self.take()

    async def give_back(self, notes: Mapping[str, str | int]) -> None:
        """Write the notes, and give the lock back. Raises SweepTaken if it was taken away: then nothing is written."""
        _notes(await self._store.give_back(self._owner, notes))


def operator_name(epoch: int, replica: str) -> str:
    """The name of the operator that leads: the next leader has a higher epoch, and takes the lock over."""
    return f"operator/{epoch}/{replica}"


def _notes(reply: Notes | Busy) -> Notes:
    if isinstance(reply, Busy):
        raise SweepTaken(reply.owner)
    return reply
