"""The rig of a test on real parts, and the check that the test leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.endpoints import Endpoints
from tests.support.invariants import assert_log_is_good, tidy
from tests.support.kube import Kube
from tests.support.operators import Operators
from tests.support.rig import Rig


@pytest.fixture
async def rig(
    bare_rig: Rig, where: Endpoints, kube: Kube, operators: Operators, request: pytest.FixtureRequest
) -> AsyncIterator[Rig]:
    """The rig of one test. After the test the invariants must hold, and nothing may be left once all is deleted."""
    log = where.log_directory / "operator.log"
    read = log.stat().st_size if log.exists() else 0
    yield bare_rig
    if not log.exists() and not operators.running:
        await operators.start()
    await tidy(bare_rig)
    if log.exists():
        with log.open(encoding="utf-8") as file:
            file.seek(read)
            assert_log_is_good(file, kube.namespace)
    assert_log_is_good(operators.logs.splitlines(), kube.namespace)
