"""`roomkeeper uninstall --hook` with the rights of the chart's hook, and no others."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from controller.api.names import API_VERSION, FINALIZER, SYSTEM_NAMESPACE
from tests import manifests
from tests.support.rig import Rig
from tests.support.waiting import eventually
from tests.uninstall.cluster import DEPLOYMENT, LEASE, POLICIES, Site

# One worker needs one stack for all of them.
pytestmark = pytest.mark.xdist_group("uninstall")


async def test_it_drains_with_its_rights_and_leaves_the_deployment_to_helm(rig: Rig, site: Site) -> None:
    operator = await site.start()
    home = replace(rig.kube, namespace=SYSTEM_NAMESPACE)
    await home.create(
        {
            "apiVersion": API_VERSION,
            "kind": "LiveKitServer",
            "metadata": {"name": "eu-1"},
            "spec": {"url": "http://127.0.0.1:1"},
        }
    )

    async def finalizers(expected: list[str]) -> None:
        assert ((await home.get("LiveKitServer", "eu-1")) or {})["metadata"].get("finalizers", []) == expected

    await eventually(lambda: finalizers([FINALIZER]))
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob", placement={"serverName": "default"})
    await rig.kube.create(manifests.room(placement={"serverName": "default"}))
    await site.hook("--policy", "Drain", "--timeout", "60s")
    await finalizers([])
    await home.remove("lks/eu-1")
    assert await rig.kube.list("Match") == []
    assert await rig.kube.list("Room") == []
    await rig.expect_states(alice="WAITING", bob="WAITING")
    await site.gone(*POLICIES, LEASE)
    assert not operator.running
    deployment = await site.get(DEPLOYMENT)
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 0


async def test_with_roles_alone_it_drains_and_says_that_the_policy_is_not_checked(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.ready("alice", "bob")
    done = await site.hook("--policy", "Drain", whole_cluster=False)
    assert await rig.kube.list("Match") == []
    assert "the policy roomkeeper-finalizer is not checked" in done.out


async def test_it_releases_and_calls_go_on(rig: Rig, site: Site) -> None:
    operator = await site.start()
    match = await rig.ready("alice", "bob")
    await site.hook("--policy", "Release", whole_cluster=False)
    assert not operator.running
    assert FINALIZER not in (await rig.kube.match()).metadata.finalizers
    assert await rig.livekit_name(match) in await rig.livekit_rooms()
    await operator.start()


async def test_a_drain_without_an_operator_releases_at_once(rig: Rig, site: Site) -> None:
    """Scaled to 0 before `helm uninstall`: nobody can end the calls, and waiting would not help."""
    operator = await site.start()
    await rig.ready("alice", "bob")
    await rig.kube.admin.call("PATCH", DEPLOYMENT, {"spec": {"replicas": 0}})
    await site.stopped()
    started = time.monotonic()
    done = await site.hook("--policy", "Drain", "--timeout", "20m")
    assert time.monotonic() - started < 600, "it waited for an operator that nobody starts"
    assert "the Deployment roomkeeper-system/roomkeeper is scaled to 0" in done.out
    match = await rig.kube.match()
    assert FINALIZER not in match.metadata.finalizers
    assert match.metadata.deletion_timestamp is None
    assert f"released without the operator: Match {rig.kube.namespace}/match" in done.err
    await operator.start()


async def test_a_drain_whose_operator_dies_falls_back_and_says_what_it_leaves(rig: Rig, site: Site) -> None:
    """As in a crash loop: the Deployment wants a pod, and no replica renews the Lease."""
    operator = await site.start(lease_seconds="10")
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await site.stack.kill("redis-server")  # so that the operator cannot end the call before it dies
    try:
        hook = asyncio.create_task(site.hook("--policy", "Drain", "--timeout", "20m"))

        async def is_being_deleted() -> None:
            assert (await rig.kube.match()).metadata.deletion_timestamp is not None

        await eventually(is_being_deleted)
        await operator.kill()
        done = await hook
    finally:
        await site.stack.start_program("redis-server")
    assert await rig.kube.list("Match") == []
    assert "the drain did not finish (the operator stopped working: 1 of 1" in done.err
    assert f"released without the operator: Match {rig.kube.namespace}/match" in done.err
    assert "Redis: alice, bob stay in a call that no longer has a Match" in done.err
    await operator.start()


async def test_a_drain_that_cannot_end_in_time_falls_back_and_names_the_cause(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await site.stack.kill("redis-server")
    try:
        done = await site.hook("--policy", "Drain", "--timeout", "8s")
    finally:
        await site.stack.start_program("redis-server")
    assert await rig.kube.list("Match") == []
    assert "the drain did not finish (the time is over: 1 Match and 1 Room are left" in done.err
    assert "Redis" in done.err


async def test_by_hand_the_same_ends_with_124_and_takes_no_finalizer_off(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await site.stack.kill("redis-server")
    try:
        done = await site.uninstall("--yes", "--timeout", "8s", status=124)
        assert FINALIZER in (await rig.kube.match()).metadata.finalizers
    finally:
        await site.stack.start_program("redis-server")
    assert f"Match {rig.kube.namespace}/match (" in done.err
    await rig.kube.gone("Match", "match")


async def test_it_changes_nothing_without_its_rights_and_says_which_are_missing(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.ready("alice", "bob")
    kubeconfig = await site.hook_account(whole_cluster=False)
    watched = ("--watch-namespaces", f"{rig.kube.namespace},default")
    done = await site.uninstall("--hook", "--policy", "drain", *watched, kubeconfig=kubeconfig, status=1)
    assert "Matches and Rooms cannot be listed: " in done.err
    assert 'in the namespace "default"' in done.err
    assert (await rig.kube.match()).metadata.deletion_timestamp is None
