"""Steps for many pools run side by side, and not all of them at once."""

from __future__ import annotations

import asyncio

from controller.triggers.side_by_side import side_by_side

POOLS = [f"ns-{number}" for number in range(250)]


async def test_every_pool_has_its_turn_and_a_hundred_are_under_way_at_most() -> None:
    under_way, most, done = 0, 0, []

    async def step(namespace: str) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done.append(namespace)

    await side_by_side(step, POOLS)
    assert done == POOLS
    assert most == 100
