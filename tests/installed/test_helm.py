"""The life of a release: installed, upgraded and rolled back during a call, drained, uninstalled with a call going on.

The commands are those of docs/upgrade.md and docs/uninstall.md, and the values those of docs/high-availability.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox.kubelet.kubelet import Kubelet
from tests.installed.conftest import MakeRelease
from tests.installed.page import Page
from tests.installed.release import CHART, Release, assert_undisturbed, left_of
from tests.support.images import NEXT_VERSION, VERSION
from tests.support.rig import Rig

pytestmark = [pytest.mark.usefixtures("real_programs"), pytest.mark.xdist_group("image")]

# The name that the pages use.
_NAMESPACE = "roomkeeper-system"
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/matches.roomkeeper.dev"


def _next_version(directory: Path) -> Path:
    """The chart of the next version: its image has another tag, and its Match has one more field."""
    chart = directory / "next" / "roomkeeper"
    shutil.copytree(CHART, chart)
    file = chart / "Chart.yaml"
    file.write_text(file.read_text().replace(f"ersion: {VERSION}\n", f"ersion: {NEXT_VERSION}\n"))
    crd = chart / "templates" / "crds" / "matches.yaml"
    text = crd.read_text()
    # The first one is in the spec.
    field = "                participants:\n"
    crd.write_text(text.replace(field, f"                newField:\n                  type: string\n{field}", 1))
    return chart


async def _has_new_field(release: Release) -> bool:
    crd = await release.admin.call("GET", _CRD)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return "newField" in spec["properties"]


async def _versions(release: Release) -> set[str]:
    return {body["spec"]["containers"][0]["image"].rpartition(":")[2] for body in await release.pods()}


async def test_a_call_goes_on_while_the_release_is_upgraded_and_rolled_back(
    rig: Rig, release: MakeRelease, kubelet: Kubelet, webhook_port: int, tmp_path: Path
) -> None:
    one, page = release(namespace=_NAMESPACE), Page("upgrade.md", tmp_path)
    values = page.write("values.yaml", "replicaCount: 2\n")
    await one.prepare()
    assert "It serves all namespaces." in await one.install("--values", str(values))
    async with kubelet.serving(one.namespace, "roomkeeper-webhook", "webhook", webhook_port):
        await rig.enqueue("alice", "bob")
        match, people = await rig.active()
        before = {body["metadata"]["name"] for body in await one.pods()}
        page.use_chart(_next_version(tmp_path))
        said = await page.type("With Helm", one)
        assert "Succeeded" in said
        assert "✗" not in said
        assert (await _versions(one), await _has_new_field(one)) == ({NEXT_VERSION}, True)
        assert before.isdisjoint(body["metadata"]["name"] for body in await one.pods())
        await one.leads()
        assert_undisturbed(*people)
        said = await page.type("Back to the version before", one)
        assert NEXT_VERSION in said
        assert (await _versions(one), await _has_new_field(one)) == ({VERSION}, False)
        await one.leads()
        assert_undisturbed(*people)
        assert (await rig.kube.match()).metadata.uid == match.metadata.uid
        await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
        # The operator of the first version goes on with what the other one did.
        leaving = tmp_path / "leaving"
        leaving.mkdir()
        said = await Page("uninstall.md", leaving).type("With Helm", one)
        assert 'release "roomkeeper" uninstalled' in said
        await rig.expect_states(alice="WAITING", bob="WAITING")
    assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()


async def test_a_node_is_drained_and_an_upgrade_fails_during_a_call_which_the_uninstallation_ends(
    rig: Rig, release: MakeRelease, kubelet: Kubelet, webhook_port: int, tmp_path: Path
) -> None:
    one, page = release(), Page("high-availability.md", tmp_path)
    values = ("--values", str(page.write("values.yaml", page.block("Two replicas", "yaml"))))
    await one.prepare()
    await one.install(*values)
    (spread,) = (await one.pods())[0]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    async with kubelet.serving(one.namespace, "roomkeeper-webhook", "webhook", webhook_port):
        await rig.enqueue("carol", "dave")
        _, people = await rig.active("carol", "dave")
        before = {body["metadata"]["name"] for body in await one.pods()}
        # The budget lets the second pod go when another one has taken the place of the first.
        drained = await rig.kube.ask("drain", kubelet.node, "--ignore-daemonsets", "--timeout=60s")
        assert drained.count(" evicted") == 2
        await rig.kube.ask("uncordon", kubelet.node)
        assert await one.leads() not in before
        failed = ("--rollback-on-failure", "--timeout=3s")
        said = await one.helm("upgrade", one.name, str(CHART), *values, "--set=image.tag=none", *failed, status=1)
        assert "not ready" in said
        await one.leads()
        assert await _versions(one) == {VERSION}
        assert_undisturbed(*people)
        await one.uninstall()
        for person in people:
            assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
        await rig.expect_states(carol="WAITING", dave="WAITING")
    assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()
    assert await rig.kube.list("Match") == []
    assert await rig.livekit_rooms() == {}


async def test_crds_and_matches_stay_if_the_chart_no_longer_has_them(rig: Rig, release: MakeRelease) -> None:
    one = release()
    await one.prepare()
    await one.install()
    await rig.enqueue("alice", "bob")
    await rig.ready()
    await one.upgrade(crds__enabled="false")
    assert (await rig.kube.match()).metadata.deletion_timestamp is None
    await rig.delete()
