"""How often the status of one object is written: a few times at once, then once every two seconds.

A user who leaves and joins in a loop changes the status of a Match and of its Room, and each status is a write to etcd.
The ledger in Redis has every change; the status may lag behind it by two seconds. Pure bookkeeping. Neighbor:
`loop.reconcile`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

BURST: Final = 10
"""Writes that follow one another at once. A call without disturbances has five of its Match and seven of its Room."""
INTERVAL: Final = timedelta(seconds=2)


class StatusLimit:
    """A token bucket per object, by UID, kept as the moment at which the bucket is full again."""

    def __init__(self) -> None:
        self._full_at: dict[str, datetime] = {}

    def next_at(self, uid: str, now: datetime) -> datetime:
        """When the status may be written: `now`, or a later moment."""
        return max(now, self._known(uid, now) - (BURST - 1) * INTERVAL)

    def written(self, uid: str, now: datetime) -> None:
        """The status was written."""
        self._full_at[uid] = max(self._known(uid, now), now) + INTERVAL

    def _known(self, uid: str, now: datetime) -> datetime:
        """The moment at which the bucket is full. One beyond an empty bucket is from before the clock was set back."""
        full_at = self._full_at.get(uid, now)
        if full_at > now + BURST * INTERVAL:
            full_at = self._full_at[uid] = now + BURST * INTERVAL
        return full_at

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._full_at.pop(uid, None)
