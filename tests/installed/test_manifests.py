"""Without Helm: manifests/install.yaml by kubectl, and the kustomize base with its components."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from sandbox.endpoints import Endpoints
from sandbox.kubelet.kubelet import Kubelet
from sandbox.source import INSTALL, ROOT
from tests.installed.conftest import remove_all
from tests.installed.page import Page
from tests.installed.release import Release, assert_undisturbed
from tests.support.images import NEXT_VERSION, REPOSITORY
from tests.support.kube import Kube
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience

pytestmark = [pytest.mark.usefixtures("real_programs"), pytest.mark.xdist_group("image")]


@pytest.fixture
async def installation(where: Endpoints, kube: Kube, tmp_path: Path) -> AsyncIterator[Release]:
    """What manifests/ installs, in the namespace that they name. The test applies them."""
    one = Release(where, kube.admin, tmp_path, "roomkeeper", "roomkeeper-system")
    # A test before this one may have had it.
    await kube.ask("wait", "--for=delete", f"namespace/{one.namespace}", f"--timeout={patience():g}s")
    yield one
    await remove_all(where, kube.admin, [one.namespace])


async def test_kubectl_installs_it_and_its_pod_says_what_it_still_needs(
    rig: Rig, installation: Release, kubelet: Kubelet, webhook_port: int, tmp_path: Path
) -> None:
    await installation.kube.ask("apply", "--server-side", "-f", str(INSTALL))

    async def says_what_is_missing() -> None:
        await installation.has_ended_with(2)
        log = kubelet.logs(installation.namespace)
        assert "ROOMKEEPER_LIVEKIT_API_SECRET_FILE" in log
        assert "ROOMKEEPER_REDIS_URL_FILE" in log

    await eventually(says_what_is_missing)
    await installation.secrets()
    await installation.kube.ask("rollout", "status", "deployment/roomkeeper", "--timeout=60s")
    async with kubelet.serving(installation.namespace, "roomkeeper-webhook", "webhook", webhook_port):
        await rig.enqueue("alice", "bob")
        _, people = await rig.active()
        assert "successfully rolled out" in await Page("upgrade.md", tmp_path).type("Without Helm", installation)
        assert_undisturbed(*people)
        await rig.delete()
        for person in people:
            assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
        await rig.expect_states(alice="WAITING", bob="WAITING")


async def test_kustomize_installs_two_replicas_of_another_image(
    rig: Rig, installation: Release, kubelet: Kubelet, tmp_path: Path
) -> None:
    # A clone beside the user's own file, as docs/install.md has it.
    (tmp_path / "roomkeeper").symlink_to(ROOT)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["roomkeeper/manifests/kustomize/base"],
        "components": ["roomkeeper/manifests/kustomize/components/ha"],
        "images": [{"name": REPOSITORY, "newTag": NEXT_VERSION}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    await installation.kube.ask("apply", "--server-side", "-k", str(tmp_path))
    await installation.secrets()
    await installation.kube.ask("rollout", "status", "deployment/roomkeeper", "--timeout=60s")
    pods = await installation.pods()
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [f"{REPOSITORY}:{NEXT_VERSION}"] * 2
    budget = await installation.kube.ask("get", "pdb", "roomkeeper", "-o", "jsonpath={.status.disruptionsAllowed}")
    assert budget == "1"
    await rig.enqueue("alice", "bob")
    await rig.ready()
    await rig.delete()
