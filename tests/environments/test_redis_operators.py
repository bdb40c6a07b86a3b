"""Operators on Redis with sentinels and on a cluster: calls begin, go on and end, whatever happens to its servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
import redis.asyncio as redis_py
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import Sentinel

from controller.clients.redis.keys import Keys, Role
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from tests.environments.redis_nodes import HOST, MASTER_NAME, Cluster, Sentinels
from tests.support.kube import Kube, is_true
from tests.support.real_programs import MARKER
from tests.support.rig import Rig

pytestmark = getattr(pytest.mark, MARKER)


def endpoints(bare: Endpoints, url: str) -> Endpoints:
    """The stack, but with the Redis behind this URL."""
    environment = {**bare.operator_env, "ROOMKEEPER_REDIS_URL": url}
    return replace(bare, redis_url=url, redis_urls=dict.fromkeys(Role, url), operator_env=environment)


class TestBehindSentinels:
    """An operator behind three sentinels."""

    @pytest.fixture
    def where(self, bare: Endpoints, sentinels: Sentinels) -> Endpoints:
        """The stack with this Redis."""
        return endpoints(bare, sentinels.url)

    @pytest.fixture
    async def redis(self, sentinels: Sentinels) -> AsyncIterator[redis_py.Redis]:
        """A plain client of the master, made by redis-py."""
        sentinel: Any = cast("Any", Sentinel)([(HOST, one.port) for one in sentinels.sentinels])
        client = sentinel.master_for(MASTER_NAME, decode_responses=True)
        yield client
        await client.aclose()
        for one in sentinel.sentinels:
            await one.aclose()

    async def test_a_call_goes_on_and_ends_rightly_over_a_failover(self, rig: Rig, sentinels: Sentinels) -> None:
        operator = await rig.operators.start(poll_seconds="0.5")
        await rig.enqueue("alice", "bob", "carol", "dave")
        match, people = await rig.active()
        await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
        old, new = sentinels.master, sentinels.replica
        await asyncio.to_thread(old, "WAIT", 1, 1000)
        await asyncio.to_thread(old.stop)
        await asyncio.to_thread(sentinels.await_promotion, new)
        # A Match that is made meanwhile, and the end of the one that was there
        other = await rig.ready("carol", "dave", name="other")
        assert other.status.phase == "Connecting"
        skip = {"type": "skip", "user": "alice", "match": match.metadata.uid, "by": "alice"}
        await rig.gateway.redis.append(rig.keys.signals(), skip, max_entries=100)
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
        assert over.status.reason == "Skipped"
        await rig.expect_states(alice="WAITING", bob="WAITING")
        assert "the sentinels name a master" in operator.log
        for person in people:
            await person.leave()
        await asyncio.to_thread(sentinels.rejoin, old)


class TestOnACluster:
    """An operator that serves several namespaces, whose pools lie on three masters."""

    @pytest.fixture
    def where(self, bare: Endpoints, cluster: Cluster) -> Endpoints:
        """The stack with this Redis. The URL names one server, which says itself that it is a node."""
        return endpoints(bare, f"redis://{cluster.nodes[0].address}/0")

    @pytest.fixture
    async def redis(self, cluster: Cluster) -> AsyncIterator[Any]:
        """A plain client of the cluster, made by redis-py."""
        nodes = [ClusterNode(HOST, node.port) for node in cluster.nodes]
        client = RedisCluster(startup_nodes=nodes, decode_responses=True)
        yield client
        await client.aclose()

    @pytest.fixture
    async def further(self, where: Endpoints, cluster: Cluster, namespace: str) -> AsyncIterator[list[str]]:
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
        self, rig: Rig, cluster: Cluster, further: list[str]
    ) -> None:
        names = [rig.kube.namespace, *further]
        operator = await rig.operators.start(watch_namespaces=",".join(names), poll_seconds="0.5")
        rigs = [self._in(rig, name) for name in names]
        for one in rigs:
            await one.enqueue("alice", "bob", "carol", "dave")
            await one.ready("alice", "bob")
        assert '"event": "Redis is a cluster"' in operator.log
        victim = cluster.owner(rigs[-1].keys.queue())
        await asyncio.to_thread(victim, "WAIT", 1, 1000)
        await asyncio.to_thread(victim.stop)
        # Pools of the others go on at once; that of the victim, after its replica was promoted.
        for one in rigs:
            await one.ready("carol", "dave", name="other")
            held = await one.kube.match()
            skip = {"type": "skip", "user": "bob", "match": held.metadata.uid, "by": "bob"}
            await one.gateway.redis.append(one.keys.signals(), skip, max_entries=100)
            over = await one.kube.match_until(lambda found: is_true(found, "Finished"))
            assert over.status.reason == "Skipped"
            await one.expect_states(alice="WAITING", bob="WAITING", carol="CONNECTING")
            await one.delete("other")
            await one.delete()
        await asyncio.to_thread(victim.start)
        await asyncio.to_thread(cluster.await_health)

    @staticmethod
    def _in(rig: Rig, namespace: str) -> Rig:
        """The same rig in another namespace."""
        keys = Keys(rig.where.cluster_id, namespace)
        return replace(
            rig,
            kube=Kube(rig.where, namespace, rig.kube.admin),
            keys=keys,
            gateway=replace(rig.gateway, keys=keys),
        )
