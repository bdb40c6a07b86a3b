"""Waiting for a state instead of sleeping: `eventually` and `consistently`, on conditions that assert."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_SECONDS = 20.0
_POLL_SECONDS = 0.03


async def eventually(condition: Callable[[], Awaitable[T]], timeout_seconds: float = TIMEOUT_SECONDS) -> T:
    """What `condition` returns once its assertions hold; the last one that failed tells what was wrong to the end."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return await condition()
        except AssertionError as failure:
            if time.monotonic() > deadline:
                failure.add_note(f"still so after {timeout_seconds:g} s")
                raise
        await asyncio.sleep(_POLL_SECONDS)


async def consistently(condition: Callable[[], Awaitable[object]], seconds: float) -> None:
    """`condition` holds now and for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await condition()
        await asyncio.sleep(_POLL_SECONDS)
