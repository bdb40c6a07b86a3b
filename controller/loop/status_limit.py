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
        return max(now, self._full_at.get(uid, now) - (BURST - 1) * INTERVAL)

    def written(self, uid: str, now: datetime) -> None:
        """The status was written."""
        self._full_at[uid] = max(self._full_at.get(uid, now), now) + INTERVAL

    def clock_was_set(self, by: timedelta) -> None:
        """The clock went on or back by so much: what is left of each bucket stays as it is."""
        self._full_at = {uid: full_at + by for uid, full_at in self._full_at.items()}

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._full_at.pop(uid, None)
