"""What the tests of the sandbox share: one real stack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.stack import Stack, StackOptions
from tests.sandbox.support import TINY_MANIFESTS


@pytest.fixture(scope="session")
async def shared_stack(tmp_path_factory: pytest.TempPathFactory, real_programs: None) -> AsyncIterator[Stack]:
    """A stack without the operator; tests leave its programs running."""
    folder = tmp_path_factory.mktemp("stack")
    manifests = folder / "manifests"
    manifests.mkdir()
    (manifests / "all.yaml").write_text(TINY_MANIFESTS)
    async with Stack(StackOptions(folder / "D", operator=False, manifests=(manifests,))) as stack:
        yield stack
