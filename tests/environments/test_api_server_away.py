"""The API server is away, or the line to it is dead: calls go on, and afterwards everything is done."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox.endpoints import Endpoints
from tests import manifests
from tests.support.gateways import send
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import eventually

_LEASE_SECONDS = "10"
_AWAY_SECONDS = 13.0


@pytest.fixture
async def line(where: Endpoints) -> AsyncIterator[TcpProxy]:
    """The line between the operator and the API server."""
    server = urlsplit(where.server)
    assert server.hostname is not None
    assert server.port is not None
    async with TcpProxy(server.hostname, server.port) as proxy:
        yield proxy


def kubeconfig_through(line: TcpProxy, where: Endpoints, operator: Operator, directory: Path) -> str:
    """The operator's kubeconfig with the address of the line."""
    own = Path(operator.environment["KUBECONFIG"]).read_text()
    path = directory / "kubeconfig"
    path.write_text(own.replace(where.server, f"https://127.0.0.1:{line.port}"))
    return str(path)


async def started(rig: Rig, line: TcpProxy, directory: Path, **settings: str) -> Operator:
    """An operator at the end of the line, which leads."""
    operator = rig.operators.make(**settings)
    operator.environment["KUBECONFIG"] = kubeconfig_through(line, rig.where, operator, directory)
    await operator.start()
    await eventually(operator.leads)
    return operator


async def test_calls_go_on_while_the_api_server_is_away_and_all_is_done_when_it_is_back(
    line: TcpProxy, rig: Rig, tmp_path: Path
) -> None:
    operator = await started(rig, line, tmp_path, lease_seconds=_LEASE_SECONDS)
    await rig.enqueue("alice", "bob", "carol", "dave", "erin", "frank")
    _, people = await rig.active()
    skipped = await rig.ready("carol", "dave", name="skipped")
    await rig.ready("erin", "frank", name="deleted")
    begins = len(operator.log)
    await line.cut()
    await send(rig, "skip", "carol", match=skipped.metadata.uid)
    await rig.expect_states(carol="WAITING", dave="WAITING")
    await rig.kube.delete("Match", "deleted")
    await rig.kube.create(manifests.match("gina", "henry", name="new", timeouts={"readySeconds": 120}))
    await asyncio.sleep(_AWAY_SECONDS)
    assert not any(person.seen("disconnected") for person in people)
    await line.restore()
    await rig.kube.match_until(lambda match: is_true(match, "Ready"), "new")
    await rig.kube.match_until(lambda match: match.status.reason == "Skipped", "skipped")
    await rig.kube.gone("Match", "deleted")
    assert (await rig.kube.match()).status.phase == "Active"
    await eventually(operator.leads)
    assert operator.log.count("lease lost") == 1
    told = operator.log[begins:].splitlines()
    said = Counter(tuple(subject(line).items()) for line in told if '"level": "warning"' in line)
    assert all(times <= 2 for times in said.values()), f"a line that is repeated: {said}"
    assert said.total() < 25, said


async def test_connections_that_are_dead_without_a_word_cost_neither_the_lease_nor_a_match(
    line: TcpProxy, rig: Rig, tmp_path: Path
) -> None:
    operator = await started(rig, line, tmp_path)
    for number in range(8):
        await rig.kube.create(manifests.match(f"a{number}", f"b{number}", name=f"load-{number}"))
    for number in range(8):
        await rig.kube.match_until(lambda match: is_true(match, "Ready"), f"load-{number}")
    await rig.ready()
    line.go_dead()
    await rig.kube.delete("Match", "match")
    await rig.kube.create(manifests.match("carol", "dave", name="new", timeouts={"readySeconds": 120}))
    await rig.kube.match_until(lambda match: is_true(match, "Ready"), "new", 30)
    await rig.kube.gone("Match", "match")
    assert "lease lost" not in operator.log


def subject(line: str) -> dict[str, str]:
    """What a line of the log is about, without its times and counts."""
    entry = json.loads(line)
    return {name: str(entry.get(name)) for name in ("event", "operation", "code", "lease", "error")}
