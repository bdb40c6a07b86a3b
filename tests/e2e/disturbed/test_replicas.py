"""Two replicas: one works, the other waits for the lease and takes over, and a late one is kept from writing."""

from __future__ import annotations

import signal

import pytest

from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually


@pytest.mark.parametrize(
    ("how", "status"),
    [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["told to stop", "killed"],
)
async def test_the_second_takes_over_when_the_first_is(rig: Rig, how: signal.Signals, status: int) -> None:
    # Twice as long as a test waits for anything: the second does not get it by waiting for its end.
    first = await rig.operators.start(lease_seconds="60")
    await eventually(first.leads)
    second = await rig.operators.start(lease_seconds="60")
    before = await rig.ready(name="before")
    await consistently(second.waits, 1.5)
    assert "waiting for the lease" in second.log
    epoch = (await first.metrics())("roomkeeper_epoch")

    assert await first.end(how) == status
    await eventually(second.leads)
    assert (await second.metrics())("roomkeeper_epoch") == epoch + 1
    await rig.ready("carol", "dave", name="after")
    await rig.join(before)
    # Webhooks went to the first replica only, so polling finds the participants.
    await rig.kube.match_until(lambda match: match.status.phase == "Active", "before")
    await rig.delete("before")


async def test_a_leader_that_slept_through_its_lease_steps_down(rig: Rig) -> None:
    first = await rig.operators.start(lease_seconds="10")
    await eventually(first.leads)
    before = await rig.ready(name="before")
    second = await rig.operators.start(lease_seconds="10")
    first.send(signal.SIGSTOP)
    await eventually(second.leads, 25)
    after = await rig.ready("carol", "dave", name="after")
    first.send(signal.SIGCONT)
    await eventually(first.waits)
    await consistently(second.leads, 1.0)
    assert await rig.kube.match("after") == after
    assert (await rig.kube.match("before")).metadata.uid == before.metadata.uid
    assert is_true(await rig.kube.match("before"), "Ready")
    # The fence has the epoch of the second replica: Redis refuses all that the first may still send.
    fence = await rig.redis.get(rig.keys.fence(0))
    assert str(fence).partition(":")[0] == f"{(await second.metrics())('roomkeeper_epoch'):.0f}"
