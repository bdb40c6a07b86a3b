"""Two API servers behind one address: they take turns, one of them goes away, or their clocks are apart."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.ports import PortLocks
from tests import manifests
from tests.support.api_servers import kubeconfig_at, port_of, second_api_server
from tests.support.balancer import Balancer
from tests.support.date_proxy import DateProxy
from tests.support.kube import is_true
from tests.support.rig import Rig


async def test_a_call_outlives_each_of_two_api_servers_behind_one_address(rig: Rig, tmp_path: Path) -> None:
    operator, first = rig.operators.make(), port_of(rig.where)
    async with second_api_server(rig.where) as second, Balancer(first, second) as balancer:
        known = Path(operator.environment["KUBECONFIG"])
        operator.environment["KUBECONFIG"] = kubeconfig_at(balancer.port, known, tmp_path / "kubeconfig")
        await operator.start()
        await rig.enqueue("alice", "bob", "carol", "dave")
        match, (alice, bob) = await rig.active("alice", "bob")
        assert min(balancer.taken.values()) > 0, "both serve the operator"
        for number, only in enumerate((second, first)):
            await balancer.use(only)
            # The watch was cut, or goes on at a server that has seen something else.
            await rig.ready("carol", "dave", name=f"match-{number}")
            await rig.delete(f"match-{number}")
            await rig.expect_states(carol="WAITING", dave="WAITING")
        found = await rig.kube.match()
        assert (found.metadata.uid, found.status.phase) == (match.metadata.uid, "Active")
        await rig.kube.patch("Match", "match", manifests.termination("Skip", "alice"))
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
        assert over.status.reason == "Skipped"
        for person in (alice, bob):
            assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
        await operator.leads()
        assert "lease lost" not in operator.log
        assert "clock was set" not in operator.log
        await operator.end()


@pytest.fixture
async def apart(rig: Rig, ports: PortLocks, tmp_path: Path) -> AsyncIterator[Balancer]:
    """An operator whose requests go in turn to two API servers with clocks 11.5 s apart."""
    operator = rig.operators.make(poll_seconds="1")
    known = Path(operator.environment["KUBECONFIG"])
    numbers = ports.take(), ports.take()
    async with contextlib.AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(DateProxy(known, number)) for number in numbers]
        proxies[1].off_seconds = 11.5
        balancer = await stack.enter_async_context(Balancer(*numbers))
        operator.environment["KUBECONFIG"] = proxies[0].kubeconfig(tmp_path / "kubeconfig", balancer.port)
        await operator.start()
        yield balancer
        await operator.end()
        assert operator.log.count("clock was set") <= 1, "the two clocks are not followed in turn"


async def test_a_call_ends_by_time_with_two_api_servers_whose_clocks_are_apart(rig: Rig, apart: Balancer) -> None:
    await rig.enqueue("alice", "bob")
    _, (_alice, bob) = await rig.active(timeouts={"leaveSeconds": 10, "soloSeconds": 60})
    await bob.leave()
    over = await rig.kube.match_until(lambda match: is_true(match, "Finished"))
    assert over.status.reason == "Left"
    since = next(step.time for step in over.status.history if step.phase == "Reconnecting")
    assert over.status.ended_at is not None
    assert timedelta(seconds=10) <= over.status.ended_at - since < timedelta(seconds=60)
    assert min(apart.taken.values()) > 0
    await rig.expect_states(alice="WAITING", bob="IDLE")
