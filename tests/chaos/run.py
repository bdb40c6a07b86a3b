"""One run of chaos: the calls, the steps of the plan in their time, and the look at what is left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.calls import FAILURES, Calls
from tests.chaos.hands import act
from tests.chaos.plan import Step
from tests.chaos.scene import Scene
from tests.support.invariants import assert_clean, assert_no_secret, assert_one_match_per_user
from tests.support.waiting import eventually

_LOOK_SECONDS = 1.0
_TWICE_SECONDS = 3.0
_SETTLE_SECONDS = 180.0
"""A light sweep comes each minute, and a room without an owner lives two minutes at most."""


@dataclass
class Story:
    """What happened."""

    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    """Faults that had nothing to hit, or met a backend that another fault had taken away."""
    calls: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    exits: list[str] = field(default_factory=list)
    settled_seconds: float = 0.0
    steps: int = 0
    """How many steps of users were judged by the events."""

    def table(self) -> str:
        """Everything, for people."""
        lines = [f"{'fault':36} {'done':>5} {'missed':>7}"]
        names = sorted({*self.done, *self.missed})
        lines += [f"{name:36} {self.done[name]:5} {self.missed[name]:7}" for name in names]
        lines += ["", f"{self.calls} calls were made"]
        lines += [f"  {count:5}  {end}" for end, count in self.ends.most_common()]
        lines += [f"operators that ended by themselves: {len(self.exits)}", *self.exits]
        lines.append(f"{self.steps} steps of users were judged")
        return "\n".join([*lines, f"all was settled {self.settled_seconds:.1f} s after the last fault"])


async def live_through(scene: Scene, plan: Sequence[Step], calls: Calls, say: Callable[[str], None]) -> Story:
    """Make calls while the plan is carried out. Raises AssertionError if something is left or a promise is broken."""
    story = Story()
    told = scene.told.follow(scene.rig)
    watched = [asyncio.create_task(of) for of in (scene.keep(), _one_match_per_user(scene), told)]
    calling = asyncio.create_task(calls.run())
    try:
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for number, step in enumerate(plan, 1):
                await asyncio.sleep(began + step.at - time.monotonic())
                group.create_task(_do(scene, step, story))
                if number % 50 == 0:
                    say(f"{step.at:6.1f} s  {number} faults, {calls.made} calls")
                for task in (*watched, calling):
                    if task.done():
                        task.result()
        await scene.heal()
        healed = time.monotonic()
        calls.stop()
        await calling
        story.calls, story.ends, story.exits = calls.made, calls.ends, scene.exits
        await _settle(scene)
        story.steps = await scene.told.check(scene.rig)
        story.settled_seconds = time.monotonic() - healed
    finally:
        for task in (*watched, calling):
            task.cancel()
        await asyncio.gather(*watched, calling, return_exceptions=True)
    return story


async def _do(scene: Scene, step: Step, story: Story) -> None:
    try:
        hit = await act(scene, step)
    except FAILURES:
        hit = False
    (story.done if hit else story.missed)[step.fault.value] += 1


async def _settle(scene: Scene) -> None:
    """Delete what is there, and wait until nothing is left anywhere."""
    rig = scene.rig
    await assert_no_secret(rig)
    for kind in ("Match", "Room"):
        for body in await rig.kube.list(kind):
            await rig.kube.delete(kind, body["metadata"]["name"])
    await eventually(lambda: assert_clean(rig), _SETTLE_SECONDS)


async def _one_match_per_user(scene: Scene) -> None:
    """S1, all the time. The Matches and Redis are read one after another, so only what stays is a finding."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        with contextlib.suppress(*(set(FAILURES) - {AssertionError})):
            try:
                await assert_one_match_per_user(scene.rig)
            except AssertionError as first:
                await asyncio.sleep(_TWICE_SECONDS)
                try:
                    await assert_one_match_per_user(scene.rig)
                except AssertionError as second:
                    if str(second) == str(first):
                        raise
