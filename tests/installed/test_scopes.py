"""Where a release reaches: only its own namespaces, beside another release, with CRDs that others have installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio as redis_py
from livekit import api

from controller.api.names import FINALIZER
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from sandbox.kubelet.kubelet import Kubelet
from sandbox.source import CRDS
from tests.installed.conftest import MakeRelease
from tests.installed.page import Page
from tests.installed.release import assert_undisturbed, global_objects, left_of
from tests.support.kube import Kube
from tests.support.rig import Rig
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("real_programs"), pytest.mark.xdist_group("image")]

_NOTHING_GLOBAL = {
    "rbac__scope": "Namespaces",
    "watchAnyNamespace": "false",
    "crds__enabled": "false",
    "createGlobalResources": "false",
}


async def test_without_any_cluster_scoped_object_it_serves_a_call_that_outlives_it(
    rig: Rig, release: MakeRelease, kubelet: Kubelet, webhook_port: int
) -> None:
    one = release(uninstall__policy="Release", **_NOTHING_GLOBAL, **{"watchNamespaces[0]": rig.kube.namespace})
    await rig.kube.ask("apply", "--server-side", "-f", str(CRDS))
    await one.prepare()
    await one.install()
    assert await global_objects(rig.where, rig.kube.admin) == set()
    await one.leads()
    assert "the schema of the CRDs is not checked" in kubelet.logs(one.namespace)
    async with kubelet.serving(one.namespace, "roomkeeper-webhook", "webhook", webhook_port):
        await rig.enqueue("alice", "bob")
        match, people = await rig.active()
        await one.uninstall()
        assert_undisturbed(*people)
        left = await rig.kube.match()
        assert left.metadata.uid == match.metadata.uid
        assert not left.metadata.finalizers
        assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()
        # A later installation takes the call up again.
        await one.install()
        await rig.kube.match_until(lambda match: FINALIZER in match.metadata.finalizers)
        assert_undisturbed(*people)
        await rig.delete()
        await rig.expect_states(alice="WAITING", bob="WAITING")


async def test_a_second_release_serves_other_namespaces_and_is_not_touched_by_the_end_of_the_first(
    rig: Rig,
    release: MakeRelease,
    kubelet: Kubelet,
    webhook_port: int,
    redis: redis_py.Redis,
    livekit: api.LiveKitAPI,
) -> None:
    space = rig.kube.namespace
    first = release("one", watchAnyNamespace="false", **{"watchNamespaces[0]": space})
    other = {"settings__clusterId": "other", "crds__enabled": "false"}
    second = release("two", watchAnyNamespace="false", **other)
    for made in (first, second):
        await made.prepare()
        await made.install()
    there = replace(rig.where, cluster_id="other")
    keys = Keys("other", second.namespace)
    client = Redis.from_url(there.redis_url)
    kube = Kube(there, second.namespace, rig.kube.admin)
    beside = Rig(there, kube, redis, keys, livekit, Gateway(client, keys), rig.people, rig.operators)
    async with kubelet.serving(first.namespace, "one-roomkeeper-webhook", "webhook", webhook_port):
        for pool in (rig, beside):
            await pool.enqueue("alice", "bob")
        _, ours = await rig.active()
        # LiveKit has one address for webhooks here: the second release learns of its people by its own polls.
        _, theirs = await beside.active()
        await first.uninstall()
    for person in ours:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert_undisturbed(*theirs)
    left = await left_of(rig.where, rig.kube.admin, first.namespace)
    assert {name for name in left if "two-roomkeeper" not in name} == set()
    await beside.delete()
    await beside.expect_states(alice="WAITING", bob="WAITING")
    await client.close()


async def test_crds_from_kubectl_are_taken_over_and_given_back(rig: Rig, release: MakeRelease, tmp_path: Path) -> None:
    one = release()
    await one.prepare()
    await rig.kube.ask("apply", "--server-side", "-f", str(CRDS))
    said = await one.install(status=1)
    assert "invalid ownership metadata" in said
    assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()
    await one.install("--take-ownership")
    await rig.enqueue("alice", "bob")
    await rig.ready()
    await one.upgrade(uninstall__policy="Release")
    await one.uninstall()
    # The CRDs stay, and with them the Matches.
    await Page("upgrade.md", tmp_path).type("CRDs", one)
    assert (await rig.kube.match()).status.phase is not None
    assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()
    await one.install("--take-ownership")
    await rig.delete()


async def test_a_refused_installation_leaves_nothing(rig: Rig, release: MakeRelease) -> None:
    one = release()
    await one.prepare()
    typo = await one.install(replicaCont="2", status=1)
    assert "replicaCont" in typo
    contradiction = await one.install(rbac__scope="Namespaces", status=1)
    assert "roomkeeper: the values contradict each other" in contradiction
    assert "set crds.enabled to false" in contradiction

    async def nothing() -> None:
        assert await left_of(rig.where, rig.kube.admin, one.namespace) == set()

    await eventually(nothing)
    assert "roomkeeper.dev" not in await rig.kube.ask("get", "crds", "-o", "name")
