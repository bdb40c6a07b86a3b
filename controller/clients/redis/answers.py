"""The replies of Redis as values: each function checks the form of a reply, which may be anything.

They raise TypeError or ValueError, which `clients.reading` makes an error of the backend. Neighbor: `client`.
"""

from __future__ import annotations

import math
from typing import Any

from controller.clients.reading import NO_SENSE, skipped
from controller.errors import Backend


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError("expected a text")
    return value


def array(value: Any) -> list[Any]:
    """An array of whatever."""
    if not isinstance(value, list):
        raise TypeError("expected an array")
    return value


def texts(value: Any) -> list[str]:
    """An array of texts."""
    return [text(one) for one in array(value)]


def pairs(value: Any) -> dict[str, str]:
    """An array of names and values in turn."""
    flat = texts(value)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def score(value: str) -> float:
    """The score of a member of a sorted set."""
    number = float(value)
    if math.isnan(number):
        raise ValueError("expected a score")
    return number


def fields(value: Any) -> dict[str, str]:
    """The fields of an entry; none where they cannot be read, so that the reader goes on behind the entry."""
    try:
        return pairs(value)
    except NO_SENSE:
        skipped(Backend.REDIS, "entry", value)
        return {}
