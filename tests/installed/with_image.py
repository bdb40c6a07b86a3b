"""Part of `make test-image`: the chart, installed with the real image in real containers.

runc runs exactly what the chart's Pods say: the image, its user, the security context, the ServiceAccount's files at
their true path, the Secrets as mounted files. (Its name keeps this module out of `make test`.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.endpoints import Endpoints
from sandbox.kubelet.kubelet import Kubelet
from sandbox.kubelet.runc import RuncRuntime
from tests.image import debian
from tests.installed.conftest import MakeRelease
from tests.installed.release import assert_undisturbed, left_of
from tests.support.images import IMAGE
from tests.support.rig import Rig
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
async def node(cluster: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kubelet]:
    """The node of the cluster: it runs Pods in containers."""
    async with Kubelet(cluster, RuncRuntime({IMAGE: debian.built()}), tmp_path_factory.mktemp("node")) as kubelet:
        yield kubelet


async def test_the_chart_is_installed_carries_a_call_is_upgraded_and_uninstalled(
    rig: Rig, release: MakeRelease, kubelet: Kubelet, webhook_port: int
) -> None:
    one = release()
    await one.prepare(secrets=False)
    await one.install(wait=False)

    async def says_which_secrets_it_needs() -> None:
        said = kubelet.logs(one.namespace)
        for name in ("roomkeeper-livekit", "roomkeeper-redis"):
            assert f"there is no Secret {name} in the namespace {one.namespace}" in said
        await one.has_ended_with(2)

    await eventually(says_which_secrets_it_needs)
    await one.secrets()
    await one.kube.ask("rollout", "status", "deployment/roomkeeper", "--timeout=60s")
    async with kubelet.serving(one.namespace, "roomkeeper-webhook", "webhook", webhook_port):
        assert "Succeeded" in await one.helm("test", one.name, "--logs")
        await rig.enqueue("alice", "bob")
        _, people = await rig.active()
        await one.upgrade(settings__logLevel="debug")
        await one.leads()
        assert_undisturbed(*people)
        await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
        await one.uninstall()
        for person in people:
            assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
        await rig.expect_states(alice="WAITING", bob="WAITING")
    assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()
    assert await rig.kube.list("Match") == []
