"""The commands of docs/runbook.md, as a reader types them, on a stack in the trouble that the page is about."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from livekit import api

from sandbox.launch import launched
from sandbox.source import ROOT
from tests import manifests
from tests.support import commands
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience

PAGE = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# The commands take a loaded machine a while, and no user joins meanwhile.
_PATIENT = {"timeouts": {"connectSeconds": 600}, "room": {"emptyTimeoutSeconds": 700}}
BLOCKS = {heading: _BLOCK.findall(text) for heading, text in _SECTION.findall(PAGE)}


class Reader:
    """Types the blocks of the page into a shell, one after the other. What the page calls `calls` is our namespace."""

    def __init__(self, rig: Rig, operator: Operator, directory: Path) -> None:
        self._rig = rig
        self._left = {heading: list(blocks) for heading, blocks in BLOCKS.items()}
        programs = directory / "bin"
        programs.mkdir()
        commands.put_into(programs)
        self._environment = {
            **os.environ,
            **operator.environment,
            "KUBECONFIG": str(rig.where.kubeconfig),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    async def types(self, heading: str) -> str:
        """Type the next block below a heading, which must succeed; return what the screen shows."""
        ours = self._rig.kube.namespace
        block = self._left[heading].pop(0)
        block = block.replace("{default:calls}", f"{{{self._rig.where.cluster_id}:{ours}}}")
        block = re.sub(r"(-n |namespace[ /])calls\b", rf"\g<1>{ours}", block)
        process = await asyncio.create_subprocess_exec(
            *launched(("bash", "-e", "-o", "pipefail", "-c", block)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            cwd=ROOT,
        )
        async with asyncio.timeout(patience(60)):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{block}\n{out.decode()}"
        return out.decode()

    def has_typed_all(self) -> None:
        """No block of the page is left."""
        assert not any(self._left.values()), self._left


@pytest.fixture
def managed() -> bool:
    """The page is for every cluster, also for one without the finalizer policy."""
    return False


async def test_the_commands_of_the_runbook_do_what_the_page_says(rig: Rig, tmp_path: Path) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    reader = Reader(rig, operator, tmp_path)
    await rig.enqueue("alice", "bob")
    match = await rig.ready("alice", "bob", name="match-7f3a", **_PATIENT)
    await rig.kube.create(manifests.room("lobby"))

    out = await reader.types("Users cannot connect")
    assert "✓ LiveKit" in out
    assert "UsersClaimed" in out

    await rig.redis.delete(*[key async for key in rig.redis.scan_iter(rig.keys.pattern)])
    await rig.expect_states(alice="CONNECTING", bob="CONNECTING")
    assert "CONNECTING" in await reader.types("Redis was lost")
    out = await reader.types("LiveKit must be restarted")
    assert "room.roomkeeper.dev/lobby condition met" in out

    out = await reader.types("Users are stuck")
    assert match.metadata.uid in out.partition("NAME")[0], "the record names the Match"
    assert "condition met" in await reader.types("Users are stuck")
    await rig.expect_states(alice="IDLE", bob="WAITING")
    await reader.types("Users are stuck")

    assert "lobby" in await reader.types("Rooms leak")
    await rig.kube.gone("Room", "lobby")

    last = await rig.ready("alice", "bob", name="last", **_PATIENT)
    livekit_name = await rig.livekit_name(last)
    await operator.kill()
    await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{rig.kube.namespace}")

    async def waits() -> None:
        body = await rig.kube.admin.call("GET", f"/api/v1/namespaces/{rig.kube.namespace}")
        told = [one["message"] for one in body["status"].get("conditions", ())]
        assert [message for message in told if "roomkeeper.dev/cleanup" in message], told

    await eventually(waits)
    out = await reader.types("A namespace does not go away")
    assert "roomkeeper.dev/cleanup" in out
    assert re.search(r"Match +last", out)
    await reader.types("A namespace does not go away")
    reader.has_typed_all()
    # The operator that starts now lets the users go. It would close the room a minute later.
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=livekit_name))
