"""A server per program and session, and a pool of its own (a namespace) per test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from controller.clients.redis.client import Redis
from tests.redis.servers import Server, programs, running
from tests.redis.world import World

_numbers = itertools.count()


@pytest.fixture(scope="session", params=sorted(programs()))
def server(request: pytest.FixtureRequest, real_programs: None) -> Iterator[Server]:
    """One running server of each kind."""
    with running(programs()[request.param]) as started:
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
