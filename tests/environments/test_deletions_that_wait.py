"""What is deleted while LiveKit or Redis is away says what it waits for, and can be let go by hand at once."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess

import pytest

from sandbox.parts import locate
from sandbox.source import ROOT
from tests import manifests
from tests.support.chaos import frozen
from tests.support.kube import Kube, condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_PAGE = ROOT / "docs" / "operations.md"


def commands(kube: Kube) -> list[str]:
    """The commands of the page, for the test's namespace."""
    section = _PAGE.read_text().split("### A deletion that waits")[1].split("\n### ")[0]
    return [text.replace("-n calls", f"-n {kube.namespace}") for text in re.findall(r"```sh\n(.*?)```", section, re.S)]


async def typed(kube: Kube, command: str) -> str:
    """Run a command of the page as the administrator; return what it prints."""
    path = f"{locate('kubectl').path.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(kube.where.kubeconfig), "PATH": path}
    done = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("program", "name"), [("livekit-server", "LiveKit"), ("redis-server", "Redis")])
async def test_it_says_for_what_and_a_namespace_goes_when_the_finalizers_are_taken_off(
    rig: Rig, program: str, name: str
) -> None:
    await rig.operators.start(sweep_seconds="2")
    await rig.enqueue("alice", "bob")
    await rig.active()
    await rig.kube.create(manifests.room("lobby"))
    await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")
    why, way_out = commands(rig.kube)
    with frozen(rig.where, program):
        await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{rig.kube.namespace}")
        told = await rig.kube.match_until(
            lambda match: match.metadata.deletion_timestamp is not None and is_true(match, "Degraded")
        )
        assert name in condition(told, "Degraded").message
        assert re.search(rf"Match +match +.*{name}", await typed(rig.kube, why))
        await typed(rig.kube, way_out)

        async def is_gone() -> None:
            answer = await rig.kube.admin.answer("GET", f"/api/v1/namespaces/{rig.kube.namespace}")
            assert answer.status == 404, answer.body

        await eventually(is_gone)
    await eventually(lambda: rig.expect_states(alice="WAITING", bob="WAITING"))

    async def rooms_are_closed() -> None:
        assert await rig.livekit_rooms() == {}

    await eventually(rooms_are_closed)
