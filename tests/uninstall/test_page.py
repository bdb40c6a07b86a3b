"""The commands of docs/uninstall.md, as a reader types them: each block on a cluster of its own, with a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.api.names import KINDS, SYSTEM_NAMESPACE
from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.source import ROOT
from sandbox.stack import Stack, StackOptions
from tests import manifests
from tests.support.kube import Kube
from tests.support.operators import Operators
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience
from tests.uninstall.cluster import CRD, DEPLOYMENT, LEASE, POLICIES, Site

PAGE = (ROOT / "docs/uninstall.md").read_text(encoding="utf-8")
EVERYTHING = (
    *(f"{CRD}/{kind.crd}" for kind in KINDS), *POLICIES, DEPLOYMENT, LEASE,
    f"/api/v1/namespaces/{SYSTEM_NAMESPACE}", "/apis/rbac.authorization.k8s.io/v1/clusterroles/roomkeeper",
)  # fmt: skip


@pytest.fixture
async def own_stack(tmp_path: Path, real_programs: None) -> AsyncIterator[Stack]:
    """A stack for one block alone: the page deletes the account that the operator runs as."""
    async with Stack(StackOptions(tmp_path / "stack", operator=False)) as stack:
        yield stack


@pytest.fixture
def rig(bare_rig: Rig) -> Rig:
    """The rig without its checks at the end, which need the CRDs."""
    return bare_rig


@pytest.fixture
async def site(
    own_stack: Stack, where: Endpoints, kube: Kube, operators: Operators, tmp_path: Path
) -> AsyncIterator[Site]:
    """An installation that is not made again."""
    made = Site(own_stack, where, kube, operators, tmp_path)
    await made.install()
    yield made
    await made.stop_playing()


def block(heading: str) -> str:
    """The commands below a heading of the page."""
    found = re.search(rf"^## {heading}\n.*?^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no commands below {heading!r}"
    return found[1]


async def typed(heading: str, site: Site, directory: Path) -> str:
    """Type the commands of a block into a shell; every question is answered with y. Returns what the screen shows."""
    programs = directory / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(locate("kubectl").path)
    (programs / "roomkeeper").symlink_to(Path(sys.executable).with_name("roomkeeper"))
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n" * 8)
    process = await asyncio.create_subprocess_exec(
        *launched(("bash", "-e", "-c", block(heading))),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "KUBECONFIG": str(site.where.kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}"},
        cwd=ROOT,
    )  # fmt: skip
    os.close(theirs)
    async with asyncio.timeout(patience(120)):
        out, _ = await process.communicate()
    os.close(ours)
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_with_kubectl_nothing_is_left(rig: Rig, site: Site, tmp_path: Path) -> None:
    await site.start()
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await rig.kube.create(manifests.room())
    out = await typed("With kubectl", site, tmp_path)
    assert out.count("2. delete 1 Match and 2 Rooms") == 2, out
    assert "Continue? [y/N]" in out
    await eventually(lambda: site.gone(*EVERYTHING))
    await rig.expect_states(alice="WAITING", bob="WAITING")


async def test_without_the_command_the_same_is_gone(rig: Rig, site: Site, tmp_path: Path) -> None:
    await site.start()
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await rig.kube.create(manifests.room())
    await typed("Without the command", site, tmp_path)
    await eventually(lambda: site.gone(*EVERYTHING))
    await rig.expect_states(alice="WAITING", bob="WAITING")


async def test_deleted_in_the_wrong_order_it_is_repaired(rig: Rig, site: Site, tmp_path: Path) -> None:
    """`kubectl delete -f manifests/install.yaml` with a call: the rights go first, and the CRDs wait for ever."""
    operator = await site.start()
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await operator.kill()
    done = await asyncio.to_thread(
        rig.kube.kubectl, "delete", "-f", str(ROOT / "manifests/install.yaml"), "--wait=false"
    )
    assert done.returncode == 0, done.stderr
    assert await site.get(f"{CRD}/matches.roomkeeper.dev") is not None
    out = await typed("Deleted in the wrong order", site, tmp_path)
    assert "the CRDs are being deleted already" in out
    await eventually(lambda: site.gone(*EVERYTHING))
