"""The CRDs are one version ahead of the operator, as in every upgrade and after a rollback: calls go on, and end."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from controller.api.names import API_VERSION, MATCH
from controller.api.states import UserState
from tests import manifests
from tests.support.kube import Body, Kube
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{MATCH.crd}"


def _newer(schema: Body) -> None:
    """Change the schema of a Match as its next version could: a new field, a new word, a wider type."""
    spec = schema["properties"]["spec"]["properties"]
    spec["timeouts"]["properties"]["pauseSeconds"] = {"type": "integer", "default": 7}
    spec["timeouts"]["default"] = {}
    spec["requeue"]["properties"]["onEnded"]["enum"].append("Best")
    spec["ttlSecondsAfterFinished"] = {"x-kubernetes-int-or-string": True, "default": 300}


@pytest.fixture
async def newer_crds(kube: Kube) -> AsyncIterator[None]:
    """The CRD of Matches of the next version, until the end of the test."""
    crd = await kube.admin.call("GET", _PATH)
    before, after = crd["spec"]["versions"], copy.deepcopy(crd["spec"]["versions"])
    _newer(after[0]["schema"]["openAPIV3Schema"])
    await kube.admin.call("PATCH", _PATH, {"spec": {"versions": after}})
    await eventually(lambda: _is_served(kube, 7))
    yield
    await kube.admin.call("PATCH", _PATH, {"spec": {"versions": before}})
    await eventually(lambda: _is_served(kube, None))


async def _is_served(kube: Kube, pause_seconds: int | None) -> None:
    made = await kube.try_to_create(manifests.match("x", "y", name="probe"), dry_run=True)
    assert made.status == 201, made.message
    assert made.body["spec"]["timeouts"].get("pauseSeconds") == pause_seconds
    listed = await kube.admin.answer("GET", f"/apis/{API_VERSION}/namespaces/{kube.namespace}/{MATCH.plural}")
    assert listed.status == 200, listed.message


async def test_a_call_goes_on_and_ends_with_fields_and_words_of_the_next_version(rig: Rig, newer_crds: None) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.kube.create(manifests.match(requeue={"onEnded": "Best"}))

    async def is_ready() -> None:
        body = await rig.kube.get("Match", "match")
        assert body is not None
        assert body["spec"]["timeouts"]["pauseSeconds"] == 7
        assert "readyAt" in body.get("status", {})

    await eventually(is_ready)
    await operator.kill()
    await operator.start()
    await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
    await rig.expect_states(alice="IDLE", bob="WAITING")
    body = await rig.kube.get("Match", "match")
    assert body is not None
    assert body["spec"]["requeue"]["onEnded"] == "Best", "what the operator does not know is still there"
    await rig.delete()


async def test_a_call_that_cannot_be_read_goes_on_and_its_deletion_is_finished(rig: Rig, newer_crds: None) -> None:
    """The users are those of the ledger. Room, tokens and finalizer go as well, also with a new operator."""
    operator = await rig.operators.start()
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    await rig.kube.create(manifests.match())

    async def is_ready() -> Body:
        body = await rig.kube.get("Match", "match")
        assert body is not None
        assert "readyAt" in body.get("status", {})
        return body

    made = await eventually(is_ready)
    name = made["status"]["room"]["liveKitName"]
    await rig.kube.patch("Match", "match", {"spec": {"ttlSecondsAfterFinished": "5m"}})

    async def is_named() -> None:
        assert (await operator.metrics())("roomkeeper_unreadable_objects", kind="Match") == 1

    await eventually(is_named)
    await operator.kill()
    await operator.start()
    await eventually(is_named)
    assert name in await rig.livekit_rooms()
    assert await rig.states("alice", "bob") == {"alice": UserState.CONNECTING, "bob": UserState.CONNECTING}
    ledger = rig.keys.match(made["metadata"]["uid"])
    await cast("Any", rig.redis).execute_command(
        "HSET", ledger, "takenAt", "nonsense"
    )  # another client damages it, too
    await rig.delete()
    assert await rig.queue() == places
    assert name not in await rig.livekit_rooms()
    await eventually(lambda: _none_unreadable(operator))


async def _none_unreadable(operator: Operator) -> None:
    assert (await operator.metrics())("roomkeeper_unreadable_objects") == 0
