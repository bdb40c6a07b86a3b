"""The arithmetic of windows: a window stands still while a backend is silent. Pure.

Every window of a Match and of a lost Room ends at `window_end`; `rules.deadlines` and `rules.restores` say which
windows there are. The silences come from `views.silences`: outages of LiveKit and of Redis, the time in which no
replica worked, and the jump of a clock that was set forward.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.facts.silences import Silences


def window_end(start: datetime, window: timedelta, silences: Silences) -> datetime:
    """When a window that began at `start` has been open for `window`, not counting the silences.

    A silence that begins after the end moves nothing. Without silences this is exactly `start + window`, and no further
    silence makes it earlier.
    """
    back = silences.set_back
    if back is not None and start > back.latest:
        start = back.as_of
    end = start + window
    for silence in silences.known:
        if silence.end <= start:
            continue
        begin = max(silence.start, start)
        if begin >= end:
            break
        end += silence.end - begin
    return end


def silent_between(start: datetime, until: datetime, silences: Silences) -> timedelta:
    """How long it was silent between two moments."""
    overlaps = (min(silence.end, until) - max(silence.start, start) for silence in silences.known)
    return sum((overlap for overlap in overlaps if overlap > timedelta(0)), timedelta(0))
