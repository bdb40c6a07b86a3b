"""The high-water mark of a pool: how far this owner knows Redis to have come, so that an older Redis is recognized.

Each fenced request has a number and names the highest number that Redis has answered. The fence of the pool keeps the
highest number that arrived. A Redis that came back from a snapshot, from an append-only file without its last second,
or from a replica that lagged, has a fence that is behind what it has answered. `operator.lua` then answers `LOST`.
Neighbors: `pool` sends the mark with every fenced request, `triggers.audit` compares the fences of idle pools.
"""

from __future__ import annotations

from typing import TypeAlias


class Mark:
    """The requests to one pool under one epoch, by number. `known` is the highest number that Redis has answered."""

    __slots__ = ("_last", "known")

    def __init__(self) -> None:
        self._last = 0
        self.known = 0

    def next(self) -> int:
        """The number of the next request."""
        self._last += 1
        return self._last

    def done(self, number: int) -> None:
        """Redis has answered the request `number`, and its fence is that far at least."""
        self.known = max(self.known, number)


class BorrowedMark(Mark):
    """The mark of a client that holds no lease: it names the number that it has read, and never counts it up.

    Its requests are refused once a new owner has come, or once Redis is older than it was when the number was read.
    """

    __slots__ = ()

    def __init__(self, number: int) -> None:
        super().__init__()
        self.known = number

    def next(self) -> int:
        """The number that was read."""
        return self.known

    def done(self, number: int) -> None:
        """Nothing: the owner counts."""


Guard: TypeAlias = tuple[str | None, str | None]
"""The incarnation and the fence of a pool as they are in Redis; None for what is not there."""


def parse_fence(text: str | None) -> tuple[int, int]:
    """Epoch and number of a fence. What is missing or cannot be read counts as 0: such a fence has lost them."""
    epoch, _, number = (text or "").partition(":")
    return _number(epoch), _number(number)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < _LONGEST else 0


_LONGEST = 20
