"""A cluster whose Pods run as processes, and a namespace in it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.endpoints import Endpoints
from sandbox.kubelet.kubelet import Kubelet
from sandbox.kubelet.process import ProcessRuntime

IMAGE = "registry.example/roomkeeper:1.2.3"


@pytest.fixture
def where(cluster: Endpoints) -> Endpoints:
    """The cluster that runs Pods."""
    return cluster


@pytest.fixture
def managed() -> bool:
    """There is no operator, so no namespace is labeled for one."""
    return False


@pytest.fixture
async def kubelet(cluster: Endpoints, opt: Path, tmp_path: Path) -> AsyncIterator[Kubelet]:
    """The cluster's node; it has one image."""
    async with Kubelet(cluster, ProcessRuntime({IMAGE: opt / "roomkeeper"}), tmp_path / "kubelet") as kubelet:
        yield kubelet
