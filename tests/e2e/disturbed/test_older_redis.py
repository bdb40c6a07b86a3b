"""A Redis that persists and comes back older than it was: the Matches know better, and no call ends because of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import redis as redis_py

from controller.clients.redis.keys import Role
from sandbox.endpoints import Endpoints
from sandbox.ports import PortLocks
from tests import manifests
from tests.redis.servers import Server
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually, patience

_NOW_AND_THEN = "3600 1000000"


class Past(Protocol):
    """A Redis behind one `url`, that can go back to what it was."""

    url: str

    def remember(self) -> None:
        """Note what it goes back to."""

    def go_back(self) -> None:
        """Let it die, and come back as it was when it was last told to remember."""

    def stop(self) -> None:
        """End all programs."""


class Snapshot:
    """A Redis that writes snapshots, and is killed."""

    def __init__(self, folder: Path) -> None:
        self._server = Server("valkey", folder, save=_NOW_AND_THEN)
        self._server.start()
        self.url = self._server.url

    def remember(self) -> None:
        _ask(self.url, "SAVE")

    def go_back(self) -> None:
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


class Log:
    """A Redis that logs every write (`appendfsync everysec`), on a machine that loses power before the end is on disk.

    A process that is killed alone loses nothing, since what it has written is the kernel's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = Server("valkey", folder, options=("--appendonly", "yes", "--appendfsync", "everysec"))
        self._server.start()
        self._size = 0
        self.url = self._server.url

    def remember(self) -> None:
        self._size = self._file().stat().st_size

    def go_back(self) -> None:
        self._server.stop()
        os.truncate(self._file(), self._size)
        self._server.start()

    def die_and_come_back(self) -> None:
        """Let the process be killed."""
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def _file(self) -> Path:
        (found,) = (self._folder / "appendonlydir").glob("*.incr.aof")
        return found


class Failover:
    """Two servers behind one address: the primary dies, and a replica that lags takes its place."""

    def __init__(self, folder: Path) -> None:
        self._ports = PortLocks()
        self._address = folder / "redis.sock"
        self.url = f"unix://{self._address}"
        port = str(self._ports.take())
        self._primary = self._begin(folder / "a", "--port", port)
        self._replica = self._begin(folder / "b", "--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay", "0")
        self._point_to(self._primary)

    def remember(self) -> None:
        assert _ask(self._primary.url, "SET", "remembered", "yes")
        deadline = time.monotonic() + patience()
        while _ask(self._replica.url, "GET", "remembered") is None:
            assert time.monotonic() < deadline, "the replica does not follow"
            time.sleep(0.01)
        # From here on it hears nothing of the primary.
        _ask(self._replica.url, "REPLICAOF", "NO", "ONE")

    def go_back(self) -> None:
        self._primary.stop()
        self._point_to(self._replica)

    def stop(self) -> None:
        self._primary.stop()
        self._replica.stop()
        self._ports.release()

    def _begin(self, folder: Path, *options: str) -> Server:
        folder.mkdir()
        server = Server("valkey", folder, options=options)
        server.start()
        return server

    def _point_to(self, server: Server) -> None:
        """A connection that is opened from now on leads to this server."""
        new = self._address.with_suffix(".new")
        new.symlink_to(server.url.removeprefix("unix://"))
        new.replace(self._address)


def _ask(url: str, *words: str) -> Any:
    with redis_py.Redis.from_url(url) as client:
        return client.execute_command(*words)


@pytest.fixture(params=[Snapshot])
def past(request: pytest.FixtureRequest) -> Iterator[Past]:
    """A Redis of this test alone. The path of a socket must be short, so the folder is not pytest's."""
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        made: Past = request.param(Path(folder))
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def where(bare: Endpoints, past: Past) -> Endpoints:
    """The stack, but with this Redis."""
    environment = {**bare.operator_env, "ROOMKEEPER_REDIS_URL": past.url}
    return replace(bare, redis_url=past.url, redis_urls=dict.fromkeys(Role, past.url), operator_env=environment)


@pytest.mark.parametrize("past", [Snapshot, Log, Failover], indirect=True)
async def test_a_call_goes_on_when_redis_forgets_its_claim(rig: Rig, past: Past) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    past.remember()
    match, people = await rig.active()
    past.go_back()

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


async def test_users_are_free_again_when_redis_forgets_that_their_call_ended(rig: Rig, past: Past) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    match, _ = await rig.active()
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    past.remember()
    await rig.kube.patch("Match", "match", {"spec": {"termination": {"action": "End", "initiator": "alice"}}})
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    after = await rig.states("alice", "bob")
    past.go_back()
    await rig.expect_states(**{who: str(state) for who, state in after.items()})
    assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []
    assert (await rig.kube.match()).status.end == over.status.end
    assert match.metadata.uid in operator.log


async def test_a_call_goes_on_when_redis_still_gives_its_user_to_a_match_that_is_gone(rig: Rig, past: Past) -> None:
    operator = await rig.operators.start(poll_seconds="0.5", sweep="false")
    await rig.enqueue("alice", "bob", "carol")
    await rig.ready("alice", "bob", name="before")
    past.remember()
    await rig.kube.delete("Match", "before")
    await rig.kube.gone("Match", "before")
    match = await rig.ready("alice", "carol", name="now")
    past.go_back()

    async def is_restored() -> None:
        assert await rig.states("alice", "bob", "carol") == {
            "alice": "CONNECTING",
            "bob": "WAITING",
            "carol": "CONNECTING",
        }
        assert (await rig.user("alice")).match == match.metadata.uid
        assert await rig.redis.zrange(rig.keys.live(), 0, -1) == [match.metadata.uid]

    await eventually(is_restored)
    assert set(await rig.queue()) == {"bob"}
    found = await rig.kube.match_until(lambda found: not is_true(found, "Degraded"), "now")
    assert (found.status.phase, found.status.end) == ("Connecting", None)
    assert "a match is gone that still held users" in operator.log


async def test_a_call_is_restored_by_an_operator_that_starts_after_redis_went_back(rig: Rig, past: Past) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    past.remember()
    await rig.active()
    await operator.kill()
    past.go_back()
    await operator.start()
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    assert await rig.queue() == {}
    assert (await rig.kube.match()).status.phase == "Active"


@pytest.mark.parametrize("past", [Log], indirect=True)
async def test_a_redis_that_logs_every_write_and_is_killed_has_lost_nothing(rig: Rig, past: Log) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    match, people = await rig.active()
    past.die_and_come_back()
    await rig.kube.patch("Match", "match", {"spec": {"termination": {"action": "Skip", "initiator": "alice"}}})
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (over.metadata.uid, over.status.reason) == (match.metadata.uid, "Skipped")
    await rig.expect_states(alice="WAITING", bob="WAITING")
    await asyncio.gather(*(person.wait_for("disconnected") for person in people))
    assert "Redis had lost data" not in operator.log
