"""A stack of its own per module, since these tests delete what others need, with an operator that has a Deployment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.endpoints import Endpoints
from sandbox.stack import Stack, StackOptions
from tests.e2e.conftest import rig
from tests.support.kube import Kube
from tests.support.operators import Operators
from tests.uninstall.cluster import Site

__all__ = ["rig"]


@pytest.fixture(scope="session")
async def own_stack(tmp_path_factory: pytest.TempPathFactory, real_programs: None) -> AsyncIterator[Stack]:
    """A stack without an operator, for these tests alone."""
    async with Stack(StackOptions(tmp_path_factory.mktemp("uninstall") / "stack", operator=False)) as stack:
        yield stack


@pytest.fixture
def where(own_stack: Stack) -> Endpoints:
    return own_stack.endpoints


@pytest.fixture
async def site(
    own_stack: Stack, where: Endpoints, kube: Kube, operators: Operators, tmp_path: Path
) -> AsyncIterator[Site]:
    """An installation as `kubectl apply` makes it; nothing of it runs yet."""
    async with Site(own_stack, where, kube, operators, tmp_path) as made:
        yield made
