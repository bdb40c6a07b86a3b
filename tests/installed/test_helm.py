"""The life of a release: installed, upgraded and rolled back during a call, uninstalled with a call going on."""

from __future__ import annotations

import pytest

from sandbox.kubelet.kubelet import Kubelet
from tests.installed.conftest import MakeRelease
from tests.installed.release import assert_undisturbed, left_of
from tests.support.images import NEXT_TAG
from tests.support.rig import Rig

pytestmark = [pytest.mark.usefixtures("real_programs"), pytest.mark.xdist_group("image")]


async def test_a_call_goes_on_while_the_release_is_upgraded_and_rolled_back(
    rig: Rig, release: MakeRelease, kubelet: Kubelet, webhook_port: int
) -> None:
    one = release(replicaCount="2")
    await one.prepare()
    said = await one.install()
    assert "It serves all namespaces." in said
    async with kubelet.serving(one.namespace, "roomkeeper-webhook", "webhook", webhook_port):
        said = await one.helm("test", one.name, "--logs")
        assert "Succeeded" in said
        assert "✗" not in said
        await rig.enqueue("alice", "bob", "carol", "dave")
        match, people = await rig.active()
        before = {body["metadata"]["name"] for body in await one.pods()}
        await one.upgrade(image__tag=NEXT_TAG, settings__logLevel="debug")
        upgraded = await one.pods()
        assert {body["spec"]["containers"][0]["image"].rpartition(":")[2] for body in upgraded} == {NEXT_TAG}
        assert before.isdisjoint(body["metadata"]["name"] for body in upgraded)
        await one.leads()
        assert_undisturbed(*people)
        await one.helm("rollback", one.name, "1", "--wait", "--timeout=60s")
        await one.leads()
        assert_undisturbed(*people)
        assert (await rig.kube.match()).metadata.uid == match.metadata.uid
        await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
        # The operator of the first version goes on with what the other one did.
        await rig.delete()
        await rig.expect_states(alice="WAITING", bob="WAITING")
        _, people = await rig.active("carol", "dave")
        said = await one.uninstall()
        for person in people:
            assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
        await rig.expect_states(carol="WAITING", dave="WAITING")
    # Helm keeps the pod of a test, and its log with it.
    assert await left_of(rig.where, rig.kube.admin, one.namespace) == {"pod/roomkeeper-test"}
    assert await rig.kube.list("Match") == []
    assert await rig.livekit_rooms() == {}
