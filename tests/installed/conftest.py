"""The cluster that Roomkeeper is installed in; every test leaves it as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from controller.api.names import API_VERSION
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.kubelet.kubelet import Kubelet
from tests.installed.release import GLOBAL, Release
from tests.support.kube import Kube
from tests.support.rig import Rig
from tests.support.waiting import patience

MakeRelease = Callable[..., Release]


@pytest.fixture
def where(cluster: Endpoints) -> Endpoints:
    """The cluster that runs Pods."""
    return cluster


@pytest.fixture
def managed() -> bool:
    """No namespace is labeled for the finalizer policy."""
    return False


@pytest.fixture
async def release(where: Endpoints, kube: Kube, kubelet: Kubelet, tmp_path: Path) -> AsyncIterator[MakeRelease]:
    """Makes releases. At the end, their namespaces go, and the CRDs with them."""
    made: list[Release] = []

    def make(name: str = "roomkeeper", namespace: str = "", **values: str) -> Release:
        one = Release(where, kube.admin, tmp_path, name, namespace or f"{kube.namespace}-{len(made)}", values)
        made.append(one)
        return one

    yield make
    for one in made:
        assert "Traceback" not in kubelet.logs(one.namespace)
    await remove_all(where, kube.admin, [one.namespace for one in made])


async def remove_all(where: Endpoints, admin: Administrator, namespaces: list[str]) -> None:
    """Remove whatever is left of Roomkeeper, so that the next test finds a bare cluster."""
    kube = Kube(where, "default", admin)
    for namespace in namespaces:
        # An operator that still runs would serve the next test.
        workloads = ("deployments,jobs", "--all", "--cascade=foreground")
        await kube.ask("-n", namespace, "delete", *workloads, f"--timeout={patience():g}s")
        await kube.ask("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    for plural in ("matches", "rooms"):
        await _release_all(admin, f"/apis/{API_VERSION}/{plural}")
    await kube.ask("delete", f"crds,{GLOBAL}", "-l", "app.kubernetes.io/part-of=roomkeeper", "--ignore-not-found")


async def _release_all(admin: Administrator, path: str) -> None:
    """Take the finalizers off all objects of a kind, if the cluster has the kind."""
    listed = await admin.answer("GET", path)
    for body in listed.body.get("items", ()):
        metadata = body["metadata"]
        group, plural = path.rsplit("/", 1)
        one = f"{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
        await admin.answer("PATCH", one, {"metadata": {"finalizers": None}})


@pytest.fixture
def webhook_port(where: Endpoints) -> int:
    """The port to which LiveKit sends its webhooks."""
    port = urlsplit(where.webhook_url).port
    assert port is not None
    return port


@pytest.fixture
def rig(bare_rig: Rig) -> Rig:
    """A pool in the test's namespace. The operator is the one that the test installs."""
    return bare_rig
