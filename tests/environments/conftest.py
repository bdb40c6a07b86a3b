"""The stack of these tests is the one without an operator: each starts operators as its environment asks for."""

from __future__ import annotations

import pytest

from sandbox.endpoints import Endpoints
from tests.e2e.conftest import rig

__all__ = ["rig"]


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare
