"""Redis over TLS where it has several nodes: behind sentinels, and as a cluster.

Clients reach each node at another address, where a proxy ends TLS. That address is the one that sentinels and nodes
tell, so a client that left out TLS, or the CA, anywhere on its way would not get to the data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from controller.clients.certificates import TlsCode
from controller.clients.redis.client import Redis
from controller.errors import BackendUnavailable
from sandbox.ports import PortLocks
from sandbox.redis_cluster import Cluster
from sandbox.redis_nodes import MASTER_NAME, Sentinels, running
from tests.environments.pools import live_once
from tests.environments.test_redis_cluster import worlds_everywhere
from tests.redis.world import World
from tests.support.certificates import Authority
from tests.support.real_programs import MARKER
from tests.support.tls_proxy import TlsProxy

pytestmark = [getattr(pytest.mark, MARKER), pytest.mark.xdist_group("redis-tls")]

_ANNOUNCED = "127.0.0.2"

N = TypeVar("N", Sentinels, Cluster)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@contextmanager
def behind_tls(made: Callable[[Path, PortLocks], N], authority: Authority) -> Iterator[tuple[N, dict[int, TlsProxy]]]:
    """Start the nodes, and a proxy for each at the announced address."""
    own, proxies = authority.sign("node", for_names=f"IP:{_ANNOUNCED}"), {}
    with ExitStack() as entered:

        def build(folder: Path, ports: PortLocks) -> N:
            nodes = made(folder, ports)
            for node in nodes.nodes:
                proxy = TlsProxy(node.port, own, at=(_ANNOUNCED, node.port), takes_plain=True)
                proxies[node.port] = entered.enter_context(proxy)
            return nodes

        with running(build) as nodes:
            yield nodes, proxies


def _hosts(ports: list[int]) -> str:
    return ",".join(f"{_ANNOUNCED}:{port}" for port in ports)


async def _is_not_trusted(url: str) -> None:
    client = Redis.from_url(url)
    with pytest.raises(BackendUnavailable) as caught:
        await client.ping()
    assert caught.value.code == TlsCode.NOT_TRUSTED
    await client.close()


async def test_a_redis_behind_sentinels_is_used_over_tls_also_after_a_failover(authority: Authority) -> None:
    with behind_tls(partial(Sentinels, announced=_ANNOUNCED), authority) as (nodes, proxies):
        url = f"rediss+sentinel://{_hosts([one.port for one in nodes.sentinels])}/{MASTER_NAME}/0"
        await _is_not_trusted(url)
        redis = Redis.from_url(f"{url}?ssl_ca_certs={authority.certificate}")
        await live_once(await World.new(redis, "before"))
        old, new = nodes.master, nodes.replica
        assert proxies[old.port].shaken > 0
        assert sum(proxies[one.port].shaken for one in nodes.sentinels) > 0
        old.stop()
        await asyncio.to_thread(nodes.await_promotion, new)
        await _answers(redis)
        await live_once(await World.new(redis, "after"))
        assert proxies[new.port].shaken > 0
        await redis.close()


async def _answers(redis: Redis) -> None:
    """Ask until the successor answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                await redis.ping()
            except BackendUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_cluster_is_used_over_tls_on_every_node(authority: Authority) -> None:
    with behind_tls(partial(Cluster, replicas=0, announced=_ANNOUNCED), authority) as (nodes, proxies):
        url = f"rediss+cluster://{_hosts([nodes.nodes[0].port])}/0"
        await _is_not_trusted(url)
        redis = Redis.from_url(f"{url}?ssl_ca_certs={authority.certificate}")
        for world in (await worlds_everywhere(redis, nodes)).values():
            await live_once(world)
        assert [port for port, proxy in proxies.items() if not proxy.shaken] == []
        await redis.close()
