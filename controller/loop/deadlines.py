"""One heap of deadlines: the only way in which time itself causes a reconcile.

A plan that waits returns a moment instead of sleeping. There is at most one deadline per key, the latest one set,
because every reconcile computes it from the state. Times are server time (`controller.clock`). Neighbor: `loop.worker`,
which owns the one timer.
"""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta

from controller.loop.key import Key


class Deadlines:
    """The next moment at which each key is to be reconciled."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, Key]] = []
        self._at: dict[Key, datetime] = {}

    def set(self, key: Key, at: datetime | None) -> None:
        """Replace the deadline of `key`; None removes it."""
        if at is None:
            self._at.pop(key, None)
            return
        if self._at.get(key) == at:
            return
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [(moment, waiting) for waiting, moment in self._at.items()]
            heapq.heapify(self._heap)

    def next_at(self) -> datetime | None:
        """The earliest deadline, or None."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def due(self, now: datetime) -> list[Key]:
        """Take out every key whose deadline is not after `now`."""
        keys: list[Key] = []
        while True:
            self._drop_stale()
            if not self._heap or self._heap[0][0] > now:
                return keys
            _, key = heapq.heappop(self._heap)
            del self._at[key]
            keys.append(key)

    def clock_was_set(self, by: timedelta) -> None:
        """The clock went on or back by so much: each key is reconciled after as long as before."""
        self._at = {key: at + by for key, at in self._at.items()}
        self._heap = [(at, key) for key, at in self._at.items()]
        heapq.heapify(self._heap)

    def clear(self) -> None:
        """Forget all (the lease is gone)."""
        self._heap.clear()
        self._at.clear()

    def __len__(self) -> int:
        return len(self._at)

    def _drop_stale(self) -> None:
        # Entries are replaced lazily: one whose moment is not the key's current one was superseded.
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
