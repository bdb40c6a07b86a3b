"""The environments of users: a stack without an operator, Redis with sentinels, and Redis as a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from controller.clients.redis.client import Redis
from sandbox.endpoints import Endpoints
from sandbox.redis_cluster import Cluster
from sandbox.redis_nodes import Sentinels, running
from tests.e2e.conftest import rig

__all__ = ["rig"]


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    """A master, its replica, and three sentinels. A test may kill the master; the next one finds another."""
    with running(Sentinels) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three masters with one replica each."""
    with running(Cluster) as nodes:
        yield nodes


@pytest.fixture
async def behind_sentinels(sentinels: Sentinels) -> AsyncIterator[Redis]:
    """A client of ours."""
    client = Redis.from_url(sentinels.url)
    yield client
    await client.close()


@pytest.fixture
async def of_cluster(cluster: Cluster) -> AsyncIterator[Redis]:
    """A client of ours."""
    client = Redis.from_url(cluster.url)
    yield client
    await client.close()
