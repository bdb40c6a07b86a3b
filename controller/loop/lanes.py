"""The lanes of the queue: which keys go before which others.

`loop.wakes` gives each source of wakes its lane, `loop.queue` takes keys by lane.
"""

from __future__ import annotations

from enum import IntEnum


class Lane(IntEnum):
    """A class of keys. A lower number goes first."""

    LOST = 0
    """LiveKit lost a room: it is useless once its clients have given up."""
    PEOPLE = 1
    """A user waits for what follows."""
    BULK = 2
    """Many keys at once, for which nothing has changed as far as anyone knows: a start, the end of an outage."""
