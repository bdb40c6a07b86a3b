"""An operator with rights in namespaces alone, with several namespaces, and beside another installation."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from sandbox.administrator import Refused
from tests import manifests
from tests.cli.support import run
from tests.support.accounts import Account, shipped_rules
from tests.support.kube import Kube, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually


@pytest.fixture
async def account(kube: Kube) -> Account:
    """A ServiceAccount in the test's namespace, which is the operator's own too."""
    return Account(kube, kube.namespace)


@pytest.fixture
async def another(rig: Rig) -> AsyncIterator[Rig]:
    """The rig in a second namespace, which does not exist yet."""
    namespace = f"{rig.kube.namespace}-b"
    keys = Keys(rig.where.cluster_id, namespace)
    yield replace(
        rig,
        kube=replace(rig.kube, namespace=namespace),
        keys=keys,
        gateway=Gateway(rig.gateway.redis, keys),
    )
    with contextlib.suppress(Refused):
        for kind in ("Match", "Room"):
            for body in await rig.kube.list(kind):
                await rig.kube.delete(kind, body["metadata"]["name"])
        await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{namespace}")


async def create_namespace(rig: Rig) -> None:
    """Create the namespace of the rig."""
    await rig.kube.admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": rig.kube.namespace}})


def lines(operator: Operator, words: str) -> list[str]:
    """The lines of the operator's log with these words."""
    return [line for line in operator.log.splitlines() if words in line]


async def make(rig: Rig, account: Account, directory: Path, **settings: str) -> Operator:
    """An operator that runs as the account, with its Lease in the account's namespace."""
    kubeconfig = await account.create(directory)
    operator = rig.operators.make(namespace=rig.kube.namespace, **settings)
    operator.environment["KUBECONFIG"] = str(kubeconfig)
    return operator


async def test_with_a_role_alone_a_call_is_served_from_its_start_to_its_end(
    rig: Rig, account: Account, tmp_path: Path
) -> None:
    await account.bind(rig.kube.namespace, shipped_rules())
    operator = await make(rig, account, tmp_path)
    await operator.start()
    match, people = await rig.active()
    livekit_name = await rig.livekit_name(match)
    await rig.kube.patch("Match", "match", manifests.termination("Skip", "alice"))
    ended = await rig.kube.match_until(lambda found: found.status.phase == "Ended")
    assert ended.status.reason == "Skipped"
    await asyncio.gather(*(person.wait_for("disconnected") for person in people))
    assert livekit_name not in await rig.livekit_rooms()
    # So does a sweep by hand, which may read the Leases of its own namespace alone.
    done = await asyncio.to_thread(run, "sweep", "--dry-run", "-o", "json", environment=operator.environment)
    assert (done.status, json.loads(done.out)["problems"]) == (0, []), done.err
    (line,) = lines(operator, "schema of the CRDs is not checked")
    assert f'User \\"{account.user}\\" cannot get resource \\"customresourcedefinitions\\"' in line


async def test_a_namespace_that_does_not_exist_yet_is_named_once_and_served_when_it_appears(
    rig: Rig, another: Rig, account: Account, tmp_path: Path
) -> None:
    namespace = another.kube.namespace
    await account.bind(rig.kube.namespace, shipped_rules())
    operator = await make(rig, account, tmp_path, watch_namespaces=f"{rig.kube.namespace},{namespace}")
    await operator.start()
    await rig.active()

    (line,) = lines(operator, f"the namespace {namespace} is not served yet")
    assert "cannot list resource" in line
    assert "create the namespace, if there is none, and bind the operator's Role in it" in line

    await create_namespace(another)
    await account.bind(namespace, shipped_rules())
    await another.ready()
    assert lines(operator, f"the namespace {namespace} is served now")
    assert len(lines(operator, f"the namespace {namespace} is not served yet")) == 1


async def test_two_installations_with_one_cluster_id_serve_their_own_namespaces(
    rig: Rig, another: Rig, account: Account, tmp_path: Path
) -> None:
    await create_namespace(another)
    await account.bind(another.kube.namespace, shipped_rules())
    first = await rig.operators.start()
    second = await make(rig, account, tmp_path, lease_name="another", watch_namespaces=another.kube.namespace)
    await second.start()
    await asyncio.gather(eventually(first.leads), eventually(second.leads))
    # LiveKit sends its webhooks to the first operator alone: those of the second one's rooms reach it through Redis.
    (_, ours), (_, theirs) = await asyncio.gather(rig.active(), another.active("carol", "dave"))
    await theirs[0].leave()
    gone = await another.kube.match_until(lambda match: match.status.connected == "1/2")
    assert is_true(gone, "Ready")
    assert (await rig.kube.match("match")).status.connected == "2/2"
    assert not any(person.seen("disconnected") for person in ours)
    # Neither costs the other its Lease, although both write their epochs to one Redis.
    assert (lines(first, "lease lost"), lines(second, "lease lost")) == ([], [])
    await another.delete()
