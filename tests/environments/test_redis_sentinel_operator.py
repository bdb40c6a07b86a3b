"""An operator behind three sentinels: a call begins, goes on and ends, whatever happens to the master."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import pytest
import redis.asyncio as redis_py
from redis.asyncio.sentinel import Sentinel

from sandbox.endpoints import Endpoints
from sandbox.redis_nodes import HOST, MASTER_NAME, Sentinels
from sandbox.source import ROOT
from tests.environments.pools import endpoints, repeated
from tests.support.kube import is_true
from tests.support.real_programs import MARKER
from tests.support.rig import Rig
from tests.support.waiting import patience

pytestmark = [getattr(pytest.mark, MARKER), pytest.mark.xdist_group("sentinels")]


@pytest.fixture
def where(bare: Endpoints, sentinels: Sentinels) -> Endpoints:
    """The stack with this Redis."""
    return endpoints(bare, sentinels.url, sentinels.data)


@pytest.fixture
async def redis(sentinels: Sentinels) -> AsyncIterator[redis_py.Redis]:
    """A plain client of the master, made by redis-py."""
    sentinel: Any = cast("Any", Sentinel)([(HOST, one.port) for one in sentinels.sentinels])
    client = sentinel.master_for(MASTER_NAME, decode_responses=True)
    yield client
    await client.aclose()
    for one in sentinel.sentinels:
        await one.aclose()


async def test_a_call_goes_on_and_ends_rightly_over_a_failover(rig: Rig, sentinels: Sentinels) -> None:
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
    await repeated(partial(rig.gateway.redis.append, rig.keys.signals(), skip, max_entries=100))
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.reason == "Skipped"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert "the sentinels name a master" in operator.log
    for person in people:
        await person.leave()
    await asyncio.to_thread(sentinels.rejoin, old)


async def test_the_url_of_a_sentinel_ends_the_start_with_one_sentence(rig: Rig, sentinels: Sentinels) -> None:
    operator = rig.operators.make(redis_url=f"redis://{sentinels.sentinels[0].address}")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "controller", "operator"],
        env=operator.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("roomkeeper operator: the Redis URL names a sentinel, which holds no data; use redis+")
