"""The record of one backend's silences, bounded in number and in age.

Only a silence longer than `STALE_AFTER` counts: a single refused or late request moves no deadline. The record is what
is known of the past, so a new leader begins with that of its predecessor (`backends.handover`). Neighbors:
`views.livekit` feeds the record of a LiveKit server, the Redis client that of Redis; `rules.windows` counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.facts.silences import SetBack, Silence, Silences, joined
from controller.rules.stale import STALE_AFTER

MAX_SILENCES = 64
# No window is longer than an hour, so an older silence concerns only a window that has been open for long.
_KEPT_FOR = timedelta(hours=24)
# Moments that other clocks wrote (LiveKit's, Redis') may be ahead of ours by a little.
_SKEW = timedelta(seconds=5)


class SilenceRecord:
    """The silences of one backend that are over."""

    def __init__(self) -> None:
        self._known: tuple[Silence, ...] = ()
        self._set_back: tuple[datetime, datetime] | None = None

    def at(self, now: datetime) -> Silences:
        """The silences as they count at `now`."""
        if self._set_back is None:
            return Silences(self._known)
        before, after = self._set_back
        latest = now + _SKEW
        return Silences(self._known, SetBack(latest, after) if latest < before else None)

    def add(self, start: datetime, end: datetime) -> None:
        """Store that the backend was silent from `start` to `end`, unless that was only for a moment."""
        if end - start >= STALE_AFTER:
            self._keep((*self._known, Silence(start, end)), end)

    def inherit(self, silences: tuple[Silence, ...], now: datetime) -> None:
        """Add what another replica knew."""
        self._keep((*self._known, *silences), now)

    def clock_was_set(self, before: datetime, after: datetime) -> None:
        """The clock was set from `before` to `after`.

        The moments that it leapt over never were: they are a silence. If it was set back, the silences that it still
        has before it are of no use, since nothing tells how they lie to the moments to come.
        """
        if after >= before:
            self._keep((*self._known, Silence(before, after)), after)
            return
        self._known = tuple(silence for silence in self._known if silence.end <= after)
        self._set_back = (before, after)

    def _keep(self, silences: tuple[Silence, ...], now: datetime) -> None:
        self._known = tuple(one for one in joined(silences) if one.end > now - _KEPT_FOR)[-MAX_SILENCES:]
