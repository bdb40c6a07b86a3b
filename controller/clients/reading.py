"""Reads what others wrote: whatever bytes come, the result is a value or BackendRefused, and a bad row costs no other.

Redis, LiveKit and the API server hold what gateways, matchmakers, other services and other versions wrote. A row that
cannot be read (a heartbeat at minus infinity, a key with an odd name) is skipped: it is counted in a metric and named
in the log once. An answer that makes no sense as a whole is refused. Neighbors: `clients.livekit`,
`clients.redis.client` and the tables of `clients.redis.replies` read with this module; `views.cache` skips with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog

from controller.errors import Backend, BackendRefused, Code, clip
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

R = TypeVar("R")
V = TypeVar("V")

NO_SENSE: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What Python raises for data that is not as expected."""

MAX_MS: Final = 221_845_392_000_000
"""The first moment of the year 9000, in milliseconds: Python knows times until 9999, and windows are added to it."""

_SHOWN: Final = 200
_MAX_NAMED: Final = 1000
_named: set[tuple[str, str, str]] = set()


@contextmanager
def reading(backend: Backend, operation: str, code: Code = Code.MALFORMED) -> Iterator[None]:
    """Turn what Python raises for data without sense into BackendRefused. Wrap only the reading of an answer."""
    try:
        yield
    except NO_SENSE as error:
        # The text of the error repeats the data, and the data can name a user.
        message = f"the answer cannot be read ({type(error).__name__})"
        raise BackendRefused(backend, operation, message, code=code) from None


def rows(backend: Backend, what: str, found: Iterable[R], read: Callable[[R], V]) -> list[V]:
    """Every row that `read` can read. The others are skipped."""
    values = []
    for row in found:
        try:
            values.append(read(row))
        except NO_SENSE:
            skipped(backend, what, row)
    return values


def skipped(backend: Backend, what: str, row: object) -> None:
    """Count a row that cannot be read, and name it in the log the first time."""
    metrics.unreadable_rows.labels(str(backend), what).inc()
    named = (str(backend), what, clip(repr(row), _SHOWN))
    if named in _named:
        return
    if len(_named) >= _MAX_NAMED:
        _named.clear()
    _named.add(named)
    log.warning("a row cannot be read, and is skipped", backend=named[0], what=what, row=named[2])


def moment_ms(text: str | float) -> int:
    """A time in milliseconds, as Redis spells a score. Raises ValueError for one that no clock can show."""
    value = float(text)
    if not (math.isfinite(value) and 0 <= value <= MAX_MS):
        raise ValueError("this is no time in milliseconds")
    return int(value)


def place_ms(text: str | float) -> int:
    """A place in the queue in milliseconds. One beyond all times stays the first or the last. Raises ValueError."""
    value = float(text)
    if math.isnan(value):
        raise ValueError("this is no place in a queue")
    return int(min(max(value, 0.0), float(MAX_MS)))
