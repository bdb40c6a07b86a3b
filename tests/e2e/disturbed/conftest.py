"""Where these tests are."""

from __future__ import annotations

import pytest

from sandbox.endpoints import Endpoints


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare
