"""`roomkeeper uninstall` as an administrator runs it, on a real API server with a real operator."""

from __future__ import annotations

import asyncio
import signal

import pytest

from controller.api.names import FINALIZER, KINDS, PAUSED
from sandbox.source import CRDS
from tests import manifests
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience
from tests.uninstall.cluster import CRD, DEPLOYMENT, LEASE, POLICIES, Site

# One worker needs one stack for all of them.
pytestmark = pytest.mark.xdist_group("uninstall")


async def test_it_drains_and_leaves_nothing_that_could_hold_anything_up(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await rig.kube.create(manifests.room())
    done = await site.uninstall("--yes")
    assert await rig.kube.list("Match") == []
    assert await rig.kube.list("Room") == []
    await site.gone(*POLICIES, DEPLOYMENT, LEASE)
    assert not await rig.livekit_rooms()
    await rig.expect_states(alice="WAITING", bob="WAITING")
    steps = [line.split()[1] for line in done.out.splitlines() if line.startswith("  ✓ ")]
    assert steps == ["finalizer", "drain", "operator", "finalizers", "Lease", "Deployment"]
    assert "1 Match and 2 Rooms" in done.out
    again = await site.uninstall("--yes")
    assert again.out.splitlines()[-1] == "Nothing to do."


async def test_a_dry_run_shows_the_plan_and_changes_nothing(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.ready("alice", "bob")
    await rig.kube.create(manifests.room())

    async def versions() -> list[str]:
        bodies = [*await rig.kube.list("Match"), *await rig.kube.list("Room")]
        bodies += [body for path in (DEPLOYMENT, *POLICIES) if (body := await site.get(path)) is not None]
        return sorted(f"{body['metadata']['uid']} {body['metadata'].get('deletionTimestamp')}" for body in bodies)

    before = await versions()
    done = await site.uninstall("--dry-run")
    assert await versions() == before
    assert "1. delete the MutatingAdmissionPolicy roomkeeper-finalizer and its binding" in done.out
    assert "2. delete 1 Match and 2 Rooms, and wait until the operator has ended them" in done.out
    assert f"Match {rig.kube.namespace}/match" in done.out
    assert "alice, bob" in done.out


async def test_without_a_terminal_and_without_yes_it_changes_nothing_and_says_so(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.ready("alice", "bob")
    done = await site.uninstall(status=1)
    assert "nothing was changed: there is no terminal to ask on; confirm with --yes" in done.err
    assert (await rig.kube.match()).metadata.deletion_timestamp is None
    assert await site.get(DEPLOYMENT) is not None


async def deleted_in_the_wrong_order(rig: Rig, site: Site) -> None:
    """Delete the Deployment and the CRDs; return when the API server is deleting the objects, too.

    The Lease stays, as after `kubectl delete -f`, and the operator that was killed has renewed it a moment ago.
    """
    await site.remove(DEPLOYMENT, *(f"{CRD}/{kind.crd}" for kind in KINDS))
    await rig.kube.match_until(lambda match: match.metadata.deletion_timestamp is not None)


async def test_it_repairs_a_deletion_in_the_wrong_order(rig: Rig, site: Site) -> None:
    """As after `kubectl delete -f` with everything: rights and operator go first, CRDs and objects hang."""
    operator = await site.start(lease_seconds="10")
    await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await operator.kill()
    await deleted_in_the_wrong_order(rig, site)
    done = await site.uninstall("--yes")
    await eventually(lambda: site.gone(*(f"{CRD}/{kind.crd}" for kind in KINDS), *POLICIES))
    assert "there is no Deployment roomkeeper-system/roomkeeper" in done.out
    assert "alice, bob stay in a call that no longer has a Match" in done.out
    assert "the CRDs are being deleted already" in done.out
    assert f"released without the operator: Match {rig.kube.namespace}/match" in done.err
    await site.install()
    await rig.redis.flushall()


async def test_a_release_lets_the_call_go_on_and_a_later_install_takes_it_up(rig: Rig, site: Site) -> None:
    operator = await site.start()
    await rig.enqueue("alice", "bob")
    match, people = await rig.active("alice", "bob")
    room = await rig.livekit_name(match)
    done = await site.uninstall("--yes", "--policy", "release")
    assert not operator.running
    await site.gone(*POLICIES, DEPLOYMENT, LEASE)
    released = await rig.kube.match()
    assert FINALIZER not in released.metadata.finalizers
    assert released.metadata.deletion_timestamp is None
    assert "1 Match and 1 Room stay; an operator that is installed later takes them up with their calls" in done.out
    assert await rig.livekit_people(room) == {"alice", "bob"}

    await operator.start()
    await rig.kube.match_until(lambda match: FINALIZER in match.metadata.finalizers)
    assert (await rig.kube.match()).status.phase == "Active"
    assert await rig.livekit_people(room) == {"alice", "bob"}
    await asyncio.gather(*(person.leave() for person in people))
    await rig.kube.match_until(lambda match: match.status.phase == "Ended")


async def test_a_foreign_finalizer_stays_and_is_named(rig: Rig, site: Site) -> None:
    await site.start()
    made = manifests.match("alice", "bob", meta={"finalizers": ["example.com/audit"]})
    await rig.kube.create(made)
    await rig.kube.wait("Ready")
    done = await site.uninstall("--yes")
    left = await rig.kube.match()
    assert left.metadata.finalizers == ("example.com/audit",)
    assert f"Match {rig.kube.namespace}/match also has the finalizer example.com/audit" in done.out
    assert "waits for the finalizer example.com/audit, which is not ours" in done.err
    await rig.kube.patch("Match", "match", {"metadata": {"finalizers": None}})


async def test_a_pause_does_not_keep_the_drain_from_ending(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.ready("alice", "bob")
    await rig.kube.patch("Match", "match", {"metadata": {"annotations": {PAUSED: "true"}}})
    done = await site.uninstall("--yes")
    assert await rig.kube.get("Match", "match") is None
    assert f"has the annotation {PAUSED}: it is removed" in done.out


async def test_a_run_that_was_interrupted_is_repeated(rig: Rig, site: Site) -> None:
    operator = await site.start()
    for number in range(6):
        await rig.ready(f"a{number}", f"b{number}", name=f"match-{number}")
    operator.send(signal.SIGSTOP)
    run = await site.begin("--yes")

    async def has_begun() -> None:
        bodies = await rig.kube.list("Match")
        assert any("deletionTimestamp" in body["metadata"] for body in bodies)

    await eventually(has_begun)
    run.send_signal(signal.SIGINT)
    async with asyncio.timeout(patience()):
        _, err = await run.communicate()
    assert run.returncode == 130, err.decode()
    assert "Traceback" not in err.decode()
    operator.send(signal.SIGCONT)
    await eventually(operator.leads)
    await site.uninstall("--yes")
    assert await rig.kube.list("Match") == []
    await site.gone(*POLICIES, DEPLOYMENT, LEASE)


async def test_with_crds_it_deletes_them_at_the_end(rig: Rig, site: Site) -> None:
    await site.start()
    await rig.ready("alice", "bob")
    await site.uninstall("--yes", "--crds")
    await site.gone(*(f"{CRD}/{kind.crd}" for kind in KINDS))
    await site.install()


async def test_an_explicit_drain_without_an_operator_is_refused(rig: Rig, site: Site) -> None:
    operator = await site.start()
    await rig.ready("alice", "bob")
    await operator.end()
    await site.remove(DEPLOYMENT)
    done = await site.uninstall("--yes", "--policy", "drain", status=1)
    assert "the calls cannot be drained, because the operator does not work" in done.err
    assert (await rig.kube.match()).metadata.deletion_timestamp is None
    await operator.start()


async def test_with_the_operators_settings_it_settles_what_was_deleted_in_the_wrong_order(rig: Rig, site: Site) -> None:
    operator = await site.start(lease_seconds="10")
    places = await rig.enqueue("alice", "bob")
    await rig.ready("alice", "bob")
    await operator.kill()
    await deleted_in_the_wrong_order(rig, site)
    refused = await site.uninstall("--yes", "--settle", settings=True, status=1)
    assert "an operator cannot start, because some of its CRDs are gone: apply crds/ again" in refused.err
    await rig.kube.ask("apply", "-f", str(CRDS))
    done = await site.uninstall("--yes", "--settle", "--crds", settings=True)
    assert "run an operator beside this command" in done.out
    await eventually(lambda: site.gone(*(f"{CRD}/{kind.crd}" for kind in KINDS), *POLICIES, LEASE))
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert tuple((await rig.queue()).values()) == places
    assert not await rig.livekit_rooms()
    await site.install()
