"""How many bulk keys may be in hand: as many as leave the event loop free for what users wait for. Pure.

Each reconcile in hand has a part of every turn of the event loop, and a skip needs dozens of turns. Where backends are
slow, many reconciles at once cost nothing, since they wait. Where the CPU is what holds them back, many at once are no
faster than a few, and make each turn long. So the limit follows the turns: it halves after a long one, and grows by one
after a short one. It begins at the least, since a burst would make the first turns long. Neighbor: `loop.worker`
measures the turns.
"""

from __future__ import annotations

TICK_SECONDS = 0.05
"""So often a turn is looked at while bulk keys are in hand."""

_LONG_TURN_SECONDS = 0.012
_LEAST = 4
_BULK_SHARE = 0.75


def bulk_hands(concurrency: int) -> int:
    """The part of the worker's hands that bulk keys may hold: a key that a user waits for finds a free hand."""
    return max(1, int(_BULK_SHARE * concurrency))


class BulkPace:
    """The limit of bulk keys in hand, between four and `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = min(most, _LEAST)

    def turned(self, late_seconds: float) -> int:
        """A timer fired so late, because the turn before it took so long. Returns the limit from now on."""
        if late_seconds > _LONG_TURN_SECONDS:
            self.limit = min(self._most, max(_LEAST, self.limit // 2))
        else:
            self.limit = min(self._most, self.limit + 1)
        return self.limit
