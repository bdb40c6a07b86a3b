"""A Redis that answers reads and refuses writes: Matches say so, and go on when it takes writes again."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio as redis_py

from controller.api.match import Match
from controller.clients.redis.keys import Role
from controller.clients.redis.rights import rules
from sandbox.endpoints import Endpoints
from tests import manifests
from tests.redis.servers import Server
from tests.support.kube import condition, is_true
from tests.support.rig import Rig


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        made = Server("valkey", Path(folder))
        made.start()
        yield made
        made.stop()


@pytest.fixture
async def administrator(server: Server) -> AsyncIterator[redis_py.Redis]:
    client = redis_py.Redis.from_url(server.url)
    yield client
    await client.aclose()


@pytest.fixture
def where(bare: Endpoints, server: Server) -> Endpoints:
    """The stack, but with this Redis, in which the operator has a user of its own."""
    operator = server.url.replace("unix://", "unix://rk:secret@")
    environment = {**bare.operator_env, "ROOMKEEPER_REDIS_URL": operator}
    return replace(bare, redis_url=server.url, redis_urls=dict.fromkeys(Role, server.url), operator_env=environment)


async def test_a_redis_that_refuses_writes_makes_matches_degraded_until_it_takes_them_again(
    rig: Rig, administrator: redis_py.Redis, where: Endpoints
) -> None:
    words = [*rules(Role.OPERATOR, where.cluster_id), ">secret"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.active()

    def says(words: str) -> Callable[[Match], bool]:
        def so(match: Match) -> bool:
            return is_true(match, "Degraded") and words in condition(match, "Degraded").message

        return so

    async def one(name: str, *users: str) -> None:
        await rig.kube.create(manifests.match(*users, name=name))

    # Full.
    await rig.enqueue("carol", "dave")
    await administrator.config_set("maxmemory", 1)
    await one("full", "carol", "dave")
    found = await rig.kube.match_until(says("the server says not now (OOM): its memory is full"), "full")
    assert condition(found, "Degraded").reason == "ActionRequired"
    await administrator.config_set("maxmemory", 0)
    await rig.kube.match_until(lambda match: is_true(match, "Ready") and not is_true(match, "Degraded"), "full")

    # A right that is missing inside a script.
    await rig.enqueue("erin", "frank")
    await administrator.execute_command("ACL", "SETUSER", "rk", "-zrem")  # type: ignore[no-untyped-call]
    await one("rights", "erin", "frank")
    found = await rig.kube.match_until(says("the user of Redis may not run ZREM inside the script claim"), "rights")
    assert condition(found, "Degraded").reason == "ActionRequired"
    assert '"code": "NOPERM"' in operator.log
    await administrator.execute_command("ACL", "SETUSER", "rk", "+zrem")  # type: ignore[no-untyped-call]
    await rig.kube.match_until(lambda match: is_true(match, "Ready") and not is_true(match, "Degraded"), "rights")
    assert "Redis works, but it keeps no append-only file" in operator.log
