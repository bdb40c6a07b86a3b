"""Matches that are over are kept for their TTL, up to the limit of a namespace."""

from __future__ import annotations

from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually


async def _ended(rig: Rig, name: str) -> None:
    await rig.ready(f"{name}-a", f"{name}-b", name=name)
    await rig.kube.patch("Match", name, manifests.termination("End", f"{name}-a"))

    async def over_or_gone() -> None:
        found = await rig.kube.get("Match", name)
        assert found is None or found["status"].get("endedAt")

    await eventually(over_or_gone)


async def _names(rig: Rig) -> list[str]:
    return sorted(body["metadata"]["name"] for body in await rig.kube.list("Match"))


async def test_the_oldest_beyond_the_limit_are_deleted_before_their_ttl(rig: Rig) -> None:
    operator = await rig.operators.start(max_finished_per_namespace="3")
    await rig.ready("alice", "bob", name="going-on")
    for number in range(6):
        await _ended(rig, f"m{number}")

    async def three_are_left() -> None:
        assert await _names(rig) == ["going-on", "m3", "m4", "m5"]

    await eventually(three_are_left)
    await consistently(three_are_left, 1)
    assert is_true(await rig.kube.match("going-on"), "Ready")

    # A lower limit also applies to Matches that are over already.
    assert await operator.end() == 0
    await rig.operators.start(max_finished_per_namespace="1")

    async def one_is_left() -> None:
        assert await _names(rig) == ["going-on", "m5"]

    await eventually(one_is_left)
