"""What one pool, one gateway or one stranger may spoil, and what not: fences, and pools that nobody serves."""

from __future__ import annotations

from dataclasses import replace

from controller.clients.redis.gateway import Queued, Unserved
from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

_TOO_HIGH = 3_000_000_000


async def test_a_wrong_fence_closes_its_pool_and_no_other_until_it_is_mended(rig: Rig) -> None:
    operator = await rig.operators.start(watch_namespaces=f"{rig.kube.namespace},default")
    await rig.enqueue("alice", "bob")
    await rig.active()
    epoch = (await operator.metrics())("roomkeeper_epoch")
    await rig.redis.set(rig.keys.fence(0), _TOO_HIGH)
    await rig.redis.delete(rig.keys.incarnation())  # whatever makes the operator write

    async def is_closed() -> None:
        assert (await operator.metrics())("roomkeeper_pools_closed") == 1

    await eventually(is_closed)
    degraded = await rig.kube.match_until(lambda found: is_true(found, "Degraded"))
    (told,) = [one.message for one in degraded.status.conditions if one.type == "Degraded"]
    assert f"{rig.keys.fence(0)} says epoch {_TOO_HIGH}" in told
    # Another pool is served all the while, and the lease stays where it is.
    other = replace(rig.gateway, keys=replace(rig.keys, namespace="default"))

    async def another_pool_is_served() -> None:
        assert isinstance(await other.enqueue("carol"), Queued)
        metrics = await operator.metrics()
        assert (metrics("roomkeeper_leader"), metrics("roomkeeper_epoch")) == (1, epoch)

    await eventually(another_pool_is_served)
    await consistently(another_pool_is_served, 2.0)
    await other.leave("carol")
    await rig.redis.delete(rig.keys.fence(0))
    await rig.kube.match_until(lambda found: not is_true(found, "Degraded"))
    assert (await operator.metrics())("roomkeeper_pools_closed") == 0
    await rig.delete()
    assert (await operator.metrics())("roomkeeper_epoch") == epoch
    assert "lease lost" not in operator.log


async def test_a_pool_of_mere_waiters_is_served_at_once_and_one_without_a_namespace_never(rig: Rig) -> None:
    operator = await rig.operators.start(watch_namespaces="")
    await eventually(operator.leads)
    await rig.enqueue("alice")  # the first answer is UNSERVED; no Match was ever here
    served = await rig.hash(rig.keys.served())
    assert (served["namespace"], served["heartbeatSeconds"]) == (rig.kube.namespace, "30")
    nowhere = replace(rig.gateway, keys=replace(rig.keys, namespace="nowhere"))
    assert isinstance(await nowhere.enqueue("bob"), Unserved)

    async def is_told() -> None:
        assert "the namespace does not exist in Kubernetes" in operator.log

    await eventually(is_told)
    assert isinstance(await nowhere.enqueue("bob"), Unserved)
    assert not [key async for key in rig.redis.scan_iter(nowhere.keys.pattern)]
    await rig.gateway.leave("alice")


async def test_a_user_who_left_the_queue_is_not_taken_and_the_other_waits_again_at_once(rig: Rig) -> None:
    await rig.operators.start()
    places = await rig.enqueue("alice", "bob")
    await rig.gateway.reserve("match", ("alice", "bob"), ttl_seconds=300)
    await rig.gateway.leave("alice")
    await rig.kube.create(manifests.match("alice", "bob"))
    failed = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert failed.status.end is not None
    assert (failed.status.phase, "alice" in (failed.status.end.message or "")) == ("Failed", True)
    assert await rig.queue() == {"bob": places[1]}
    await rig.expect_states(alice="IDLE", bob="WAITING")
    assert not await rig.redis.exists(rig.keys.reserved(), rig.keys.reservations())
