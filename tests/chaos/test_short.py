"""The short form of `make chaos`: faults that need no restart of the stack, on the stack without an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.endpoints import Endpoints
from tests.chaos.calls import Calls
from tests.chaos.faults import FAULTS
from tests.chaos.plan import draw
from tests.chaos.run import live_through
from tests.chaos.scene import scene
from tests.support.crowd import Crowd
from tests.support.rig import Rig

_SEED = 20
_SECONDS = 6.0
_FAULTS = 12
_RESTARTS = [fault for fault, row in FAULTS.items() if row.restarts]


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


@pytest.fixture
async def crowd(real_programs: None) -> AsyncIterator[Crowd]:
    async with Crowd() as crowd:
        yield crowd


async def test_random_faults_while_calls_run_leave_nothing_behind(bare_rig: Rig, crowd: Crowd, tmp_path: Path) -> None:
    plan = draw(_SEED, _SECONDS, _FAULTS, without=_RESTARTS)
    told: list[str] = []
    async with scene(bare_rig, None, tmp_path, _SEED, sweep_seconds="10") as disturbed:
        calls = Calls(bare_rig, crowd, _SEED, users=12, at_once=3, share=0.3)
        try:
            story = await live_through(disturbed, plan, calls, told.append)
        except BaseException as failure:
            failure.add_note("\n".join(["the plan was:", *map(str, plan), *told]))
            raise
    assert sum(story.done.values()) + sum(story.missed.values()) == len(plan)
    assert story.calls > 0
    assert story.steps > 0
