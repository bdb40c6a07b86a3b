"""A Redis that persists and comes back older than it was: the Matches know better, and no call ends because of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.clients.redis.keys import Role
from sandbox.endpoints import Endpoints
from tests import manifests
from tests.redis.servers import Server
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

_NOW_AND_THEN = "3600 1000000"


@pytest.fixture
def server() -> Iterator[Server]:
    """A Redis of this test alone, which writes a snapshot when it is told to, and begins with it after a crash."""
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        made = Server("valkey", Path(folder), save=_NOW_AND_THEN)
        made.start()
        yield made
        made.stop()


@pytest.fixture
def where(bare: Endpoints, server: Server) -> Endpoints:
    """The stack, but with this Redis."""
    environment = {**bare.operator_env, "ROOMKEEPER_REDIS_URL": server.url}
    return replace(bare, redis_url=server.url, redis_urls=dict.fromkeys(Role, server.url), operator_env=environment)


async def test_a_call_goes_on_when_redis_forgets_its_claim(rig: Rig, server: Server) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    await rig.redis.save()
    match, people = await rig.active()
    server.stop()
    server.start()

    async def is_restored() -> None:
        assert await rig.states("alice", "bob") == {"alice": "IN_CALL", "bob": "IN_CALL"}
        assert (await rig.user("alice")).match == match.metadata.uid
        assert await rig.queue() == {}

    await eventually(is_restored)

    async def goes_on() -> None:
        found = await rig.kube.match()
        assert (found.status.phase, found.status.connected) == ("Active", "2/2")
        await is_restored()

    await consistently(goes_on, 5.0)
    assert not any(person.seen("disconnected") for person in people)
    assert "Redis had lost data; live matches were restored" in operator.log
    # No other Match takes one of them.
    await rig.kube.create(manifests.match("alice", "carol", name="other"))
    other = await rig.kube.match_until(lambda found: is_true(found, "Finished"), "other")
    assert (other.status.phase, other.status.reason) == ("Failed", "UserBusy")
    await goes_on()


async def test_users_are_free_again_when_redis_forgets_that_their_call_ended(rig: Rig, server: Server) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    match, _ = await rig.active()
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await rig.redis.save()
    await rig.kube.patch("Match", "match", {"spec": {"termination": {"action": "End", "initiator": "alice"}}})
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    after = await rig.states("alice", "bob")
    server.stop()
    server.start()
    await rig.expect_states(**{who: str(state) for who, state in after.items()})
    assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []
    assert (await rig.kube.match()).status.end == over.status.end
    assert match.metadata.uid in operator.log


async def test_a_call_is_restored_by_an_operator_that_starts_after_redis_went_back(rig: Rig, server: Server) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    await rig.redis.save()
    await rig.active()
    await operator.kill()
    server.stop()
    server.start()
    await operator.start()
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    assert await rig.queue() == {}
    assert (await rig.kube.match()).status.phase == "Active"
