"""Waiting for a state instead of sleeping: `eventually` and `consistently`, on conditions that assert.

No test has a limit of its own that a loaded machine could break: each limit is `patience(…)`, and a slow machine sets
ROOMKEEPER_TEST_PATIENCE to a larger factor. A limit costs time only where a test fails.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
_FACTOR = float(os.environ.get("ROOMKEEPER_TEST_PATIENCE", "1"))
_POLL_SECONDS = 0.03


def patience(at_least_seconds: float = 0.0) -> float:
    """Return how many seconds to wait for a state that needs `at_least_seconds` on an idle machine."""
    return (PATIENCE_SECONDS + at_least_seconds) * _FACTOR


async def eventually(condition: Callable[[], Awaitable[T]], at_least_seconds: float = 0.0) -> T:
    """Return what `condition` returns once its assertions hold; otherwise raise its last failed assertion.

    `at_least_seconds` is how long the state needs on an idle machine, if that is long.
    """
    seconds = patience(at_least_seconds)
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await condition()
        except AssertionError as failure:
            if time.monotonic() > deadline:
                failure.add_note(f"still so after {seconds:g} s")
                raise
        await asyncio.sleep(_POLL_SECONDS)


async def consistently(condition: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Check that `condition` holds now and for the next `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await condition()
        await asyncio.sleep(_POLL_SECONDS)
