"""Fixtures of the tests in special environments: the stack without an operator, and a rig that checks what is left."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.endpoints import Endpoints
from tests.support.invariants import assert_log_is_good, tidy
from tests.support.kube import Kube
from tests.support.operators import Operators
from tests.support.rig import Rig


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    """The stack; a module may put other servers in the place of its own."""
    return bare


@pytest.fixture
async def rig(bare_rig: Rig, kube: Kube, operators: Operators) -> AsyncIterator[Rig]:
    """The rig of one test. After the test the invariants must hold, and nothing may be left once all is deleted."""
    yield bare_rig
    await tidy(bare_rig)
    assert_log_is_good(operators.logs.splitlines(), kube.namespace)
