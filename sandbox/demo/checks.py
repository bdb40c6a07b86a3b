"""Waits until the world is as a step expects it, and reports what was seen instead.

A probe looks once. It returns what contradicts the expectation, or None if nothing does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sandbox.errors import SandboxError

Probe = Callable[[], Awaitable[str | None]]

_PATIENCE_SECONDS = 15.0
_LOOK_AGAIN_SECONDS = 0.005


class StepFailed(SandboxError):
    """A step was not verified: `expected` is what should have been seen, `seen` is what was seen."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected = expected
        self.seen = seen


async def until(expected: str, probe: Probe, *, timeout: float = _PATIENCE_SECONDS) -> float:
    """Call the probe until it finds no contradiction; returns that (monotonic) moment.

    Raises StepFailed after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        contradiction = await probe()
        moment = time.monotonic()
        if contradiction is None:
            return moment
        if moment > deadline:
            raise StepFailed(expected, f"{contradiction} (after {timeout:.0f} s)")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def require(holds: bool, expected: str, seen: object) -> None:
    """Check what needs no waiting. Raises StepFailed unless it holds."""
    if not holds:
        raise StepFailed(expected, str(seen))
