"""Silences: the times in which a backend did not answer, or in which no replica asked it.

A window (for joining, for coming back, for being alone) stands still during a silence, since no client could use it
then, or be seen to use it: `rules.windows` does the arithmetic. Neighbors: `views.silences` keeps the record, and
`backends.handover` carries it from one replica to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The beginning of a silence whose beginning is not known."""


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence: from the last answer before it to the first answer after it."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class SetBack:
    """The clock was set back: a moment after `latest` was read from the earlier clock, and counts as `as_of`."""

    latest: datetime
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Silences:
    """The silences that are over, in order and without overlaps. `set_back` is None unless the clock was set back."""

    known: tuple[Silence, ...] = ()
    set_back: SetBack | None = None

    def __or__(self, other: Silences) -> Silences:
        """The moments at which at least one of two backends was silent."""
        if other == _NONE:
            return self
        if not other.known:
            return Silences(self.known, self.set_back or other.set_back)
        return Silences(joined((*self.known, *other.known)), self.set_back or other.set_back)


_NONE = Silences()


def joined(silences: Iterable[Silence]) -> tuple[Silence, ...]:
    """The same moments in order, as silences that neither overlap nor touch."""
    return tuple(_join(sorted(silences, key=lambda silence: silence.start)))


def _join(in_order: Iterable[Silence]) -> Iterator[Silence]:
    last: Silence | None = None
    for silence in in_order:
        if last is None or silence.start > last.end:
            if last is not None:
                yield last
            last = silence
        elif silence.end > last.end:
            last = Silence(last.start, silence.end)
    if last is not None:
        yield last
