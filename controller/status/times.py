"""Moments as a status has them. Pure."""

from __future__ import annotations

from datetime import datetime


def whole_milliseconds(moment: datetime) -> datetime:
    """The moment without microseconds, so that it reads back from the API server the same."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
