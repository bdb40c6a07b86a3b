"""The cluster refuses what the operator writes: quotas that are full, admission that denies or does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest

from controller.api.names import GROUP, VERSION
from sandbox.administrator import Refused
from tests import manifests
from tests.support.kube import Body, Kube, condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_LONG: dict[str, Any] = {"timeouts": {"readySeconds": 300}}
# The backoff of a key: 0.1 s, doubled up to 15 s, with jitter.
_MOST_TRIES = 14


@asynccontextmanager
async def _object(kube: Kube, path: str, body: Body) -> AsyncIterator[None]:
    """The object, until the end of the block."""
    await kube.admin.call("POST", path, body)
    try:
        yield
    finally:
        with suppress(Refused):
            await kube.admin.call("DELETE", f"{path}/{body['metadata']['name']}")


@asynccontextmanager
async def full(kube: Kube, resource: str) -> AsyncIterator[None]:
    """A quota that allows none of a resource. No controller counts in the sandbox, so the status is written here."""
    path = f"/api/v1/namespaces/{kube.namespace}/resourcequotas"
    hard = {f"count/{resource}": "0"}
    async with _object(kube, path, {"metadata": {"name": "full"}, "spec": {"hard": hard}}):
        await kube.patch("ResourceQuota", "full", {"status": {"hard": hard, "used": hard}}, subresource="status")
        yield


def _rooms(kube: Kube) -> Body:
    """What selects the creation of Rooms in the test's namespace."""
    rule = {"apiGroups": [GROUP], "apiVersions": [VERSION], "operations": ["CREATE"], "resources": ["rooms"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kube.namespace}}
    return {"rules": [rule], "namespaceSelector": selector}


@asynccontextmanager
async def webhook_away(kube: Kube) -> AsyncIterator[None]:
    """An admission webhook at an address where no program listens."""
    webhook = {
        "name": "away.example.com",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
        **_rooms(kube),
    }
    body = {"metadata": {"name": kube.namespace}, "webhooks": [webhook]}
    async with _object(kube, f"{_ADMISSION}/validatingwebhookconfigurations", body):
        yield


@asynccontextmanager
async def denied(kube: Kube) -> AsyncIterator[None]:
    """A policy that denies every Room."""
    selected = _rooms(kube)
    spec = {
        "matchConstraints": {"resourceRules": selected["rules"]},
        "validations": [{"expression": "false", "message": "no rooms today"}],
    }
    bound = {
        "policyName": kube.namespace,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selected["namespaceSelector"]},
    }
    metadata = {"metadata": {"name": kube.namespace}}
    async with (
        _object(kube, f"{_ADMISSION}/validatingadmissionpolicies", {**metadata, "spec": spec}),
        _object(kube, f"{_ADMISSION}/validatingadmissionpolicybindings", {**metadata, "spec": bound}),
    ):
        yield


Obstacle = Callable[[Kube], AbstractAsyncContextManager[None]]


def quota(resource: str) -> Obstacle:
    """The quota on one resource."""
    return lambda kube: full(kube, resource)


async def refused_from(kube: Kube, manifest: Body, words: str) -> None:
    """The API server knows of the obstacle."""

    async def is_refused() -> None:
        answer = await kube.try_to_create(manifest, dry_run=True)
        assert words in answer.message, answer.message

    await eventually(is_refused)


def _a(kind: str) -> Body:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "probe"}}


@pytest.mark.parametrize(
    ("obstacle", "probe", "words"),
    [
        (quota("secrets"), _a("Secret"), "exceeded quota: full"),
        (quota(f"rooms.{GROUP}"), manifests.room("probe"), "exceeded quota: full"),
        (webhook_away, manifests.room("probe"), 'failed calling webhook "away.example.com"'),
        (denied, manifests.room("probe"), "no rooms today"),
    ],
    ids=["a quota on Secrets", "a quota on Rooms", "a webhook that is away", "a policy that denies"],
)
async def test_a_match_says_what_is_in_the_way_and_becomes_ready_when_it_is_gone(
    rig: Rig, obstacle: Obstacle, probe: Body, words: str
) -> None:
    operator = await rig.operators.start()
    async with obstacle(rig.kube):
        await refused_from(rig.kube, probe, words)
        await rig.enqueue("alice", "bob")
        await rig.kube.create(manifests.match(**_LONG))
        await rig.kube.match_until(
            lambda match: is_true(match, "Degraded") and words in condition(match, "Degraded").message
        )
        metrics = await operator.metrics()
        tries = metrics("roomkeeper_backend_call_errors_total", backend="Kubernetes", operation="create")
        assert tries <= _MOST_TRIES, "it asks without a pause"
    await rig.kube.match_until(lambda match: is_true(match, "Ready") and not is_true(match, "Degraded"))
