"""When the last answer of a LiveKit server is too old to be believed. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

STALE_AFTER = timedelta(seconds=10)
"""A LiveKit server may be silent for this long before its last answer counts as stale."""


def is_stale(silent_since: datetime | None, now: datetime) -> bool:
    """Whether a server has been silent for too long. `silent_since` is None for a server that answers."""
    return silent_since is not None and now - silent_since >= STALE_AFTER
