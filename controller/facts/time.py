"""Moments as Redis and LiveKit write them. Pure: `controller.clock` tells the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def milliseconds(moment: datetime) -> int:
    """The moment as Redis stores it: whole milliseconds since the epoch."""
    return round(moment.timestamp() * 1000)


def from_milliseconds(value_ms: int) -> datetime:
    """The inverse of `milliseconds`."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value_ms)
