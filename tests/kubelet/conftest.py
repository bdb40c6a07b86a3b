"""The cluster whose Pods run as processes, and a namespace in it for each test."""

from __future__ import annotations

import pytest

from sandbox.endpoints import Endpoints


@pytest.fixture
def where(cluster: Endpoints) -> Endpoints:
    """The cluster that runs Pods."""
    return cluster


@pytest.fixture
def managed() -> bool:
    """There is no operator, so no namespace is labeled for one."""
    return False
