"""An operator that serves several namespaces, whose pools lie on the three masters of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from redis.asyncio.cluster import ClusterNode, RedisCluster

from controller.clients.redis.keys import Keys
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.redis_cluster import Cluster
from sandbox.redis_nodes import HOST
from tests.environments.pools import endpoints, repeated
from tests.support.kube import is_true
from tests.support.real_programs import MARKER
from tests.support.rig import Rig

pytestmark = [getattr(pytest.mark, MARKER), pytest.mark.xdist_group("redis-cluster")]


@pytest.fixture
def where(bare: Endpoints, cluster: Cluster) -> Endpoints:
    """The stack with this Redis. The URL names one server, which says itself that it is a node."""
    return endpoints(bare, f"redis://{cluster.nodes[0].address}/0", cluster.nodes)


@pytest.fixture
async def redis(cluster: Cluster) -> AsyncIterator[Any]:
    """A plain client of the cluster, made by redis-py."""
    nodes = [ClusterNode(HOST, node.port) for node in cluster.nodes]
    client = RedisCluster(startup_nodes=nodes, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
async def further(where: Endpoints, cluster: Cluster, namespace: str) -> AsyncIterator[list[str]]:
    """Namespaces whose pools lie on the other masters."""
    owners = {cluster.owner(Keys(where.cluster_id, namespace).queue())}
    names: list[str] = []
    async with Administrator.of(where) as admin:
        for n in range(100):
            name = f"{namespace[:40]}-{n}"
            owner = cluster.owner(Keys(where.cluster_id, name).queue())
            if owner not in owners:
                owners.add(owner)
                names.append(name)
        assert len(names) == 2
        for name in names:
            await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        yield names
        for name in names:
            await admin.call("DELETE", f"/api/v1/namespaces/{name}")


async def test_pools_on_three_masters_are_served_and_a_master_that_dies_costs_a_moment(
    rig: Rig, cluster: Cluster, further: list[str]
) -> None:
    names = [rig.kube.namespace, *further]
    operator = await rig.operators.start(watch_namespaces=",".join(names), poll_seconds="0.5")
    rigs = [rig.beside(name) for name in names]
    for one in rigs:
        await one.enqueue("alice", "bob", "carol", "dave")
        await one.ready("alice", "bob")
    assert '"event": "Redis is a cluster"' in operator.log
    # The server that the URL names must be there for clients that come new.
    victim = next(node for one in rigs if (node := cluster.owner(one.keys.queue())) is not cluster.nodes[0])
    await asyncio.to_thread(victim, "WAIT", 1, 1000)
    await asyncio.to_thread(victim.stop)
    # Pools of the others go on at once; that of the victim, after its replica was promoted.
    for one in rigs:
        await one.ready("carol", "dave", name="other")
        held = await one.kube.match()
        skip = {"type": "skip", "user": "bob", "match": held.metadata.uid, "by": "bob"}
        await repeated(partial(one.gateway.redis.append, one.keys.signals(), skip, max_entries=100))
        over = await one.kube.match_until(lambda found: is_true(found, "Finished"))
        assert over.status.reason == "Skipped"
        await one.expect_states(alice="WAITING", bob="WAITING", carol="CONNECTING")
        await one.delete("other")
        await one.delete()
    await asyncio.to_thread(victim.start)
    await asyncio.to_thread(cluster.await_health)
