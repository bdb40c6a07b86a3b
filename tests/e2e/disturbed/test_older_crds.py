"""The CRDs are one version behind the operator: `status.url` of LiveKitServers is dropped, and calls go on."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from controller.api.names import LIVEKIT_SERVER
from sandbox.endpoints import OPERATOR_NAMESPACE
from tests.support.kube import Body, Kube
from tests.support.rig import Rig
from tests.support.waiting import eventually

_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{LIVEKIT_SERVER.crd}"
_NEW = ("url", "publicUrl")


@pytest.fixture
async def own(kube: Kube) -> AsyncIterator[Kube]:
    """The operator's own namespace, with the CRD of LiveKitServers of before, until the end of the test."""
    own = replace(kube, namespace=OPERATOR_NAMESPACE)
    crd = await kube.admin.call("GET", _PATH)
    newer, older = crd["spec"]["versions"], copy.deepcopy(crd["spec"]["versions"])
    for field in _NEW:
        del older[0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"][field]
    await kube.admin.call("PATCH", _PATH, {"spec": {"versions": older}})
    yield own
    await kube.admin.call("PATCH", _PATH, {"spec": {"versions": newer}})
    await own.try_to_patch("LiveKitServer", "eu-1", {"metadata": {"finalizers": None}})
    await own.remove("livekitservers", "--all")


def _server(rig: Rig) -> Body:
    return {
        "apiVersion": "roomkeeper.dev/v1alpha1",
        "kind": "LiveKitServer",
        "metadata": {"name": "eu-1"},
        "spec": {"url": rig.where.livekit_url},
    }


async def test_new_calls_are_placed_where_no_status_can_hold_an_address_and_the_crd_is_named_once(
    own: Kube, rig: Rig
) -> None:
    await eventually(lambda: _drops_addresses(own, rig))
    operator = await rig.operators.start()
    made = await rig.ready("alice", "bob", placement={"serverName": "eu-1"})
    assert made.status.room is not None
    assert made.status.room.server == "eu-1"
    told = [line for line in operator.log.splitlines() if "is older than this operator" in line]
    assert len(told) == 1
    assert "status.publicUrl and status.url of each LiveKitServer" in told[0]
    assert "do not change spec.url" in told[0]


async def _drops_addresses(own: Kube, rig: Rig) -> None:
    """The API server takes up a changed CRD in a moment. The object is there before the operator."""
    await own.apply(_server(rig))
    path = f"/apis/roomkeeper.dev/v1alpha1/namespaces/{OPERATOR_NAMESPACE}/{LIVEKIT_SERVER.plural}/eu-1/status"
    found = await own.admin.call("PATCH", path, {"status": {"url": "http://probe", "rooms": 0}})
    assert "url" not in found["status"], found["status"]
