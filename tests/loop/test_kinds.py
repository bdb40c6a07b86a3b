"""A kind is one row of the registry: the operator serves a third kind without a new line in `controller/`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.api.names import API_VERSION, FINALIZER
from controller.loop.replay import replay
from sandbox.administrator import Refused
from sandbox.endpoints import Endpoints
from tests.loop.bells import BELL, CRD, WITH_BELLS
from tests.support.kube import Kube
from tests.support.operators import Operators
from tests.support.waiting import eventually

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


@pytest.fixture
async def bells(kube: Kube) -> AsyncIterator[str]:
    """Let the API server serve Bells; give the test the path of those in its namespace."""
    await kube.admin.call("POST", _CRDS, CRD)
    path = f"/apis/{API_VERSION}/namespaces/{kube.namespace}/{BELL.plural}"

    async def served() -> None:
        try:
            await kube.admin.call("GET", path)
        except Refused as refused:
            raise AssertionError(str(refused)) from None

    await eventually(served)
    yield path
    await kube.admin.call("DELETE", f"{_CRDS}/{BELL.crd}")


def bell(name: str, rings: int) -> dict[str, Any]:
    """Return the manifest of a Bell."""
    return {"apiVersion": API_VERSION, "kind": "Bell", "metadata": {"name": name}, "spec": {"rings": rings}}


async def test_a_third_kind_is_listed_watched_reconciled_recorded_and_replayed(
    kube: Kube, bells: str, operators: Operators, where: Endpoints, tmp_path: Path
) -> None:
    async def rang(name: str, times: int) -> None:
        found = await kube.admin.call("GET", f"{bells}/{name}")
        assert found.get("status") == {"rung": times}
        assert found["metadata"]["finalizers"] == [FINALIZER]

    async def gone(name: str) -> None:
        names = [item["metadata"]["name"] for item in (await kube.admin.call("GET", bells))["items"]]
        assert name not in names

    records = tmp_path / "record"
    await kube.admin.call("POST", bells, bell("listed", 3))
    operator = operators.make(program="tests.loop.bells", record_dir=str(records))
    # The ServiceAccount of the operator has no rights on Bells.
    operator.environment["KUBECONFIG"] = str(where.kubeconfig)
    await operator.start()
    await eventually(lambda: rang("listed", 3))

    await kube.admin.call("POST", bells, bell("watched", 1))
    await eventually(lambda: rang("watched", 1))
    await kube.admin.call("PATCH", f"{bells}/watched", {"spec": {"rings": 2}})
    await eventually(lambda: rang("watched", 2))
    await kube.admin.call("DELETE", f"{bells}/watched")
    await eventually(lambda: gone("watched"))

    metrics = await operator.metrics()
    assert metrics("roomkeeper_reconciles_total", kind="Bell", result="ok") >= 4
    assert metrics("roomkeeper_watch_events_total", kind="Bell") >= 2
    assert '"event": "bell"' in operator.log
    assert '"ReleaseFinalizer"' in operator.log
    decisions = [replayed for replayed in replay(records, WITH_BELLS) if replayed.key.startswith("bell/")]
    assert len(decisions) >= 4
    assert all(replayed.is_same for replayed in decisions)

    await kube.admin.call("DELETE", f"{bells}/listed")
    await eventually(lambda: gone("listed"))
