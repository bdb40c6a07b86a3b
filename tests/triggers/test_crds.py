"""The gate at the CRDs: what it says while kinds are missing, and what it says of their schemas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.api.digests import SCHEMA_DIGESTS
from controller.api.names import KINDS, SCHEMA_DIGEST
from controller.clients.kubernetes import KubernetesClient
from controller.errors import Backend, BackendError, BackendUnavailable, Forbidden, NotServed
from controller.generate.crds import schema_digests
from controller.triggers import crds
from controller.triggers.crds import CrdGate

ALL = {"resources": [{"name": name} for kind in KINDS for name in (kind.plural, f"{kind.plural}/status")]}
RESOURCES = "/apis/roomkeeper.dev/v1alpha1"
GROUP = "/apis/roomkeeper.dev"


class Discovery:
    """An API server that answers discovery with `paths`, and a GET of a CRD with `digests` or `refusal`."""

    def __init__(self, paths: Mapping[str, Any]) -> None:
        self.paths = dict(paths)
        self.digests = dict(SCHEMA_DIGESTS)
        self.refusal: BackendError | None = None

    def gate(self) -> CrdGate:
        """A gate in front of it."""
        return CrdGate(cast("KubernetesClient", self), ())

    async def read(self, path: str) -> Any:
        """A discovery document."""
        await asyncio.sleep(0)
        answer = self.paths.get(path, NotServed(Backend.KUBERNETES, "read", "404 page not found"))
        if isinstance(answer, BackendError):
            raise answer
        return answer

    async def served(self, api_version: str) -> set[str]:
        """As the client reads it."""
        return await KubernetesClient.served(cast("KubernetesClient", self), api_version)

    async def get(self, _resource: object, _namespace: str, name: str) -> Any:
        """A CRD."""
        if self.refusal is not None:
            raise self.refusal
        return {"metadata": {"annotations": {SCHEMA_DIGEST: self.digests[name]}}}


async def said_while_waiting(discovery: Discovery, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is logged, once, before everything is there."""
    monkeypatch.setattr(crds, "_PAUSE_SECONDS", 0)
    with capture_logs() as logs:
        waiting = asyncio.create_task(discovery.gate().wait())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        discovery.paths[RESOURCES] = ALL
        assert await waiting
    warning, news = logs
    assert news["event"] == "the API server serves our kinds now"
    return str(warning["what"])


async def test_a_cluster_that_serves_everything_is_passed_in_silence() -> None:
    with capture_logs() as logs:
        assert not await Discovery({RESOURCES: ALL}).gate().wait()
    assert logs == []


async def test_without_crds_all_of_them_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await said_while_waiting(Discovery({}), monkeypatch) == (
        "CRDs are not installed: matches.roomkeeper.dev, rooms.roomkeeper.dev, livekitservers.roomkeeper.dev; "
        "apply crds/ (or manifests/install.yaml) of this version"
    )


async def test_one_missing_crd_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {"resources": [entry for entry in ALL["resources"] if not entry["name"].startswith("rooms")]}
    said = await said_while_waiting(Discovery({RESOURCES: some}), monkeypatch)
    assert said.startswith("CRDs are not installed: rooms.roomkeeper.dev; apply")


async def test_crds_that_serve_another_version_only_are_named_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    discovery = Discovery({GROUP: {"versions": [{"version": "v1"}, {"version": "v1beta1"}]}})
    said = await said_while_waiting(discovery, monkeypatch)
    assert said.startswith("the installed CRDs serve v1, v1beta1, this operator needs v1alpha1; apply crds/")


async def test_a_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    away = BackendUnavailable(Backend.KUBERNETES, "read", "no answer from the API server (TimeoutError)")
    said = await said_while_waiting(Discovery({RESOURCES: away}), monkeypatch)
    assert said == "Kubernetes: no answer from the API server (TimeoutError)"


def test_the_operator_carries_the_digests_of_its_own_crds() -> None:
    assert schema_digests() == SCHEMA_DIGESTS


async def test_crds_of_this_version_are_passed_in_silence() -> None:
    with capture_logs() as logs:
        await Discovery({}).gate().check_schema()
    assert logs == []


@pytest.mark.parametrize("digest", ["0123456789abcdef", None])
async def test_crds_of_another_version_are_named(digest: str | None) -> None:
    discovery = Discovery({})
    discovery.digests["rooms.roomkeeper.dev"] = cast("str", digest)
    with capture_logs() as logs:
        await discovery.gate().check_schema()
    (warning,) = logs
    assert warning["event"].startswith("CRDs of another version are installed: rooms.roomkeeper.dev; fields that")


async def test_crds_that_may_not_be_read_are_not_checked_and_nothing_else_follows() -> None:
    discovery = Discovery({})
    discovery.refusal = Forbidden(Backend.KUBERNETES, "get", 'User "x" cannot get resource "customresourcedefinitions"')
    with capture_logs() as logs:
        await discovery.gate().check_schema()
    (news,) = logs
    assert news["log_level"] == "info"
    assert news["event"].startswith("the schema of the CRDs is not checked")
