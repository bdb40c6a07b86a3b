"""Two operators that are set up for the same namespace: one serves it, the other leaves it alone, and both say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.api.event_reasons import EventReason
from tests.support.accounts import Account, shipped_rules
from tests.support.kube import Kube, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually


@pytest.fixture
async def account(kube: Kube) -> Account:
    """A ServiceAccount with the rights of an operator in the test's namespace alone."""
    made = Account(kube, kube.namespace)
    await made.bind(kube.namespace, shipped_rules())
    return made


def said(operator: Operator, words: str) -> list[str]:
    """The lines of the operator's log with these words."""
    return [line for line in operator.log.splitlines() if words in line]


async def test_one_serves_the_namespace_the_other_leaves_it_alone_and_takes_it_over_when_the_first_is_gone(
    rig: Rig, account: Account, tmp_path: Path
) -> None:
    """They have different Leases and cluster ids, so nothing in Redis keeps them apart."""
    home = rig.kube.namespace
    first = rig.operators.make(namespace=home)
    first.environment["KUBECONFIG"] = str(await account.create(tmp_path))
    await first.start()
    await eventually(first.leads)
    # The operator's own user of Redis may touch keys of one cluster id alone.
    redis_url = rig.where.redis_url
    second = rig.operators.make(namespace=home, lease_name="another", cluster_id="another", redis_url=redis_url)
    second.environment["KUBECONFIG"] = str(rig.where.kubeconfig)
    await second.start()
    await eventually(second.leads)

    await rig.enqueue("alice", "bob")
    match, _ = await rig.active()
    (line,) = said(second, "too, and serves it: this one leaves it alone")
    assert f"the operator with the Lease {home}/roomkeeper-shard-0 (cluster id {rig.where.cluster_id})" in line

    async def both_have_said_so() -> None:
        assert len(said(first, f"the operator with the Lease {home}/another (cluster id another)")) == 1
        told = {event["message"] for event in await rig.events() if event["reason"] == EventReason.TWO_OPERATORS}
        assert len(told) == 2, told

    await eventually(both_have_said_so, 30)
    version = (await rig.kube.match()).metadata.resource_version

    async def is_at_rest() -> None:
        assert (await rig.kube.match()).metadata.resource_version == version

    await consistently(is_at_rest, 3)
    assert match.metadata.uid in await rig.redis.zrange(rig.keys.live(), 0, -1)
    await rig.delete()

    await first.end()
    await rig.kube.delete("Lease", "roomkeeper-shard-0")
    taken_over = await rig.ready("carol", "dave", name="next")
    assert is_true(taken_over, "Ready")
    assert len(said(second, "this one leaves it alone")) == 1
    await rig.delete("next")
