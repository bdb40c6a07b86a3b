"""Runs all checks side by side, each with a deadline of its own. A check that is late or fails is a finding, too."""

from __future__ import annotations

import asyncio
from typing import Final

from controller.doctor.checks import CHECKS
from controller.doctor.findings import Check, Finding, Scene, Verdict, finding
from controller.errors import BackendError

SECONDS: Final = 15.0


async def examine(scene: Scene, seconds: float = SECONDS) -> list[Finding]:
    """The findings of all checks, in the order of the table."""
    return await asyncio.gather(*(_one(check, scene, seconds) for check in CHECKS))


async def _one(check: Check, scene: Scene, seconds: float) -> Finding:
    try:
        async with asyncio.timeout(seconds):
            return finding(check, await check.ask(scene))
    except BackendError as error:
        # A question that needs another backend first: that one has a finding of its own.
        return Finding(check.name, Verdict.UNCHECKED, f"not known: {error}")
    except TimeoutError:
        return Finding(check.name, Verdict.FAILED, f"no answer within {seconds:g} s")
