"""A server per kind and session, and a pool of its own (a namespace) per test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from controller.clients.redis.client import Redis
from tests.redis.servers import Server, kinds_for, running
from tests.redis.world import World

_numbers = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on every kind of server that it fits. `own` is the server that test_client may ill-treat."""
    for fixture in ("server", "own"):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, kinds_for(metafunc.function.__name__), indirect=True)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One running server of each kind."""
    with running(request.param) as started:
        yield started


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    """A client of ours."""
    client = Redis.from_url(server.url)
    yield client
    await client.close()


@pytest.fixture
async def world(redis: Redis) -> World:
    """An empty pool with an incarnation, seen by the operator and by a gateway."""
    return await World.new(redis, f"test-{os.getpid()}-{next(_numbers)}")
