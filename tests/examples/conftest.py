"""A Valkey for the tests without a cluster; the rig of the whole stack for those with one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
import redis as redis_py

from examples.matchmaker.pool import Pool
from tests.e2e.conftest import rig
from tests.redis.servers import Server, running

__all__ = ["rig"]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(real_programs: None) -> Iterator[Server]:
    """One Valkey for all pools."""
    with running("valkey") as started:
        yield started


@pytest.fixture
def pools(server: Server) -> Iterator[Callable[[], Pool]]:
    """A factory of clients of one pool, which is empty at first. All clients see the same users."""
    namespace = f"examples-{os.getpid()}-{next(_numbers)}"
    made: list[Pool] = []

    def make() -> Pool:
        made.append(Pool(server.url, cluster_id="test", namespace=namespace))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def pool(pools: Callable[[], Pool]) -> Pool:
    """An empty pool."""
    return pools()


@pytest.fixture
def raw(server: Server) -> Iterator[redis_py.Redis]:
    """A plain client of the same Redis."""
    with redis_py.Redis.from_url(server.url, decode_responses=True) as client:
        yield client
