"""The ACL that docs/security.md gives to a gateway: its own pool works as without it, all else is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway, Queued
from controller.clients.redis.keys import Keys
from controller.errors import Forbidden
from sandbox.source import ROOT
from tests.redis.doors import Door, FunctionsRedis, opened
from tests.redis.servers import Server
from tests.redis.world import World

_LINE = re.search(r"^ACL (SETUSER gateway-calls .*)$", (ROOT / "docs/security.md").read_text(encoding="utf-8"), re.M)

REFUSED = (Forbidden, ResponseError)


@pytest.fixture(params=Door)
async def gateway(request: pytest.FixtureRequest, server: Server, world: World) -> AsyncIterator[Gateway]:
    """A gateway of the pool with the user of the docs, through either way to call the scripts."""
    assert _LINE is not None
    command = _LINE[1].replace("rk:{default:calls}:", world.keys.prefix).replace("PASSWORD", "word")
    await world.raw("ACL", *command.split())
    url = server.url.replace("unix://", "unix://gateway-calls:word@")
    # An administrator loads the library; the gateway may not.
    async with opened(server.url, Door.FCALL):
        redis = FunctionsRedis.from_url(url) if request.param is Door.FCALL else Redis.from_url(url)
        yield Gateway(redis, world.keys)
        await redis.close()
    await world.raw("ACL", "DELUSER", "gateway-calls")


async def test_a_gateway_with_the_acl_of_the_docs_can_do_its_work(gateway: Gateway) -> None:
    assert isinstance(await gateway.enqueue("alice", session="tab-1"), Queued)
    await gateway.enqueue("bob")
    await gateway.beat("alice", session="tab-1")
    await gateway.reserve("match", ("alice", "bob"), ttl_seconds=0.001)
    await gateway.release_expired()
    await gateway.redis.append(gateway.keys.signals(), {"type": "skip", "user": "alice"}, max_entries=10)
    assert await gateway.redis.field(gateway.keys.user("alice"), "state") == "WAITING"
    await gateway.leave("alice", session="tab-1")


async def test_a_gateway_with_the_acl_of_the_docs_reaches_no_other_pool_and_no_administration(gateway: Gateway) -> None:
    elsewhere = Gateway(gateway.redis, Keys("default", "elsewhere"))
    with pytest.raises(REFUSED, match="NOPERM"):
        await elsewhere.enqueue("alice")
    with pytest.raises(REFUSED, match="NOPERM"):
        await gateway.redis.field(elsewhere.keys.user("alice"), "state")
    for command in (("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("FUNCTION", "FLUSH")):
        with pytest.raises(REFUSED, match="NOPERM"):
            await gateway.redis._on("", *command)
