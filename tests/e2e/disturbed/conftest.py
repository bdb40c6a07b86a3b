"""The stack of these tests is the one without an operator."""

from __future__ import annotations

import pytest

from sandbox.endpoints import Endpoints


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare
