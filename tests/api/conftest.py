"""The API server alone: no operator reacts to what the tests of this directory write."""

from __future__ import annotations

import pytest

from sandbox.endpoints import Endpoints


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


@pytest.fixture
def managed() -> bool:
    return False
