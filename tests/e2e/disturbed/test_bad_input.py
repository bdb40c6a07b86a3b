"""What is wrong with an installation, in one sentence with what to do: in the log, and on the object if any."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.api.match import Match
from controller.api.names import SCHEMA_DIGEST
from sandbox.administrator import Refused
from sandbox.cluster import Cluster, read_manifests
from sandbox.endpoints import Endpoints
from sandbox.source import CRDS
from sandbox.stack import Stack, StackOptions
from tests import manifests
from tests.support.accounts import Account, shipped_rules
from tests.support.kube import Kube, condition, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
async def where(
    tmp_path_factory: pytest.TempPathFactory, audit_log: Path, real_programs: None
) -> AsyncIterator[Endpoints]:
    """A stack for this module: without CRDs, Kubernetes loses all objects of all tests."""
    log = audit_log.with_suffix(".wrong.log")
    async with Stack(StackOptions(tmp_path_factory.mktemp("wrong") / "stack", operator=False, audit_log=log)) as stack:
        yield stack.endpoints


@pytest.fixture
def account(kube: Kube) -> Account:
    """A ServiceAccount in the test's namespace, which is the operator's own too."""
    return Account(kube, kube.namespace)


async def said(operator: Operator, words: str) -> str:
    """Wait until the operator's log has these words; return the sentence with them, which is there once."""

    async def there() -> str:
        records = [json.loads(line) for line in operator.log.splitlines() if line.startswith("{")]
        found = [text for record in records for text in record.values() if words in str(text)]
        assert found, f"the log says nothing of {words!r}:\n{operator.log[-3000:]}"
        assert len(set(found)) == 1, found
        return str(found[0])

    return await eventually(there)


async def degraded(rig: Rig, words: str) -> Match:
    """Wait until the Match is degraded with these words."""

    def so(match: Match) -> bool:
        return is_true(match, "Degraded") and words in condition(match, "Degraded").message

    return await rig.kube.match_until(so)


async def as_account(rig: Rig, account: Account, directory: Path) -> Operator:
    """An operator that runs as the account, with its Lease in the account's namespace."""
    operator = rig.operators.make(namespace=rig.kube.namespace)
    operator.environment["KUBECONFIG"] = str(await account.create(directory))
    return operator


def forget_the_token(kubeconfig: Path) -> None:
    """Replace the token by one that the API server has not made."""
    kubeconfig.write_text(re.sub(r"(?m)token: .*$", "token: nonsense", kubeconfig.read_text()))


async def repaired(rig: Rig, broken: Operator) -> None:
    """Replace the operator by one with the right settings: the Match goes on."""
    await broken.end()
    await rig.operators.start()
    await rig.kube.match_until(lambda match: is_true(match, "Ready"))


async def test_a_wrong_secret_of_livekit(rig: Rig) -> None:
    operator = await rig.operators.start(livekit_api_secret="a-secret-of-another-livekit-server")
    sentence = "LiveKit refused our API key; check API key and secret, which are in LiveKit's `keys`, and the clocks"
    await said(operator, sentence)
    await rig.enqueue("alice", "bob")
    await rig.kube.create(manifests.match())
    match = await degraded(rig, sentence)
    assert not is_true(match, "Ready")
    await repaired(rig, operator)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://127.0.0.1:1/0", "the connection failed; check that Redis runs and that the Redis URL is right"),
        (
            "redis://:wrong@{}",
            "the credentials are wrong or do not suffice (ERR); check user and password in the Redis URL",
        ),
    ],
    ids=["unreachable", "password"],
)
async def test_redis_that_cannot_be_used(rig: Rig, url: str, sentence: str) -> None:
    address = rig.where.redis_url.removeprefix("redis://")
    operator = await rig.operators.start(redis_url=url.format(address))
    await said(operator, sentence)
    await rig.kube.create(manifests.match())
    await degraded(rig, f"Redis: {sentence}")
    await repaired(rig, operator)


async def test_a_right_that_is_missing(rig: Rig, account: Account, tmp_path: Path) -> None:
    rules = shipped_rules()
    await account.bind(rig.kube.namespace, [rule for rule in rules if rule["resources"] != ["secrets"]])
    operator = await as_account(rig, account, tmp_path)
    await operator.start()
    await rig.enqueue("alice", "bob")
    await rig.kube.create(manifests.match())
    missing = f'User "{account.user}" cannot update resource "secrets" in API group "" in the namespace'
    match = await degraded(rig, missing)
    found = condition(match, "Degraded")
    assert (found.reason, is_true(match, "Ready")) == ("ActionRequired", False)
    assert found.message.endswith("; grant it as the manifests and the chart of this version do")

    await account.change(rig.kube.namespace, rules)
    ready = await rig.kube.match_until(lambda match: is_true(match, "Ready"))
    assert condition(ready, "Degraded").reason == "AllBackendsAnswer"


async def test_the_right_that_an_admission_plugin_asks_for(rig: Rig, account: Account, tmp_path: Path) -> None:
    rules = [rule for rule in shipped_rules() if rule["resources"] != ["matches/finalizers"]]
    await account.bind(rig.kube.namespace, rules)
    operator = await as_account(rig, account, tmp_path)
    await operator.start()
    await rig.enqueue("alice", "bob")
    await rig.kube.create(manifests.match())
    await degraded(
        rig, "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers"
    )
    await account.change(rig.kube.namespace, shipped_rules())
    await rig.kube.match_until(lambda match: is_true(match, "Ready"))


async def test_no_right_on_its_lease(rig: Rig, account: Account, tmp_path: Path) -> None:
    await account.bind(rig.kube.namespace, shipped_rules())
    operator = await as_account(rig, account, tmp_path)
    lease = await account.rules(rig.kube.namespace, "lease")
    await account.change(rig.kube.namespace, [], "lease")
    await operator.start()
    sentence = await said(operator, 'cannot get resource "leases"')
    assert sentence.endswith("; grant it as the manifests and the chart of this version do")
    await account.change(rig.kube.namespace, lease, "lease")
    await eventually(operator.leads)
    assert operator.log.count("lease cannot be read or written") == 1


async def test_credentials_that_the_api_server_does_not_know(rig: Rig, account: Account, tmp_path: Path) -> None:
    operator = await as_account(rig, account, tmp_path)
    forget_the_token(Path(operator.environment["KUBECONFIG"]))
    starting = asyncio.create_task(operator.start())
    sentence = await said(operator, "does not accept the operator's credentials (401)")
    assert "check that its ServiceAccount exists and that its token is mounted, or check KUBECONFIG" in sentence
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await operator.end()


async def test_crds_of_another_version(rig: Rig) -> None:
    crd = f"{_CRDS}/matches.roomkeeper.dev"
    ours = (await rig.kube.admin.call("GET", crd))["metadata"]["annotations"][SCHEMA_DIGEST]
    await rig.kube.admin.call("PATCH", crd, {"metadata": {"annotations": {SCHEMA_DIGEST: "0123456789abcdef"}}})
    operator = await rig.operators.start()
    sentence = await said(operator, "CRDs of another version are installed")
    assert sentence.startswith(
        "CRDs of another version are installed: matches.roomkeeper.dev; fields that they do not know are lost: "
        "apply crds/ (or manifests/install.yaml) of this version"
    )
    await rig.kube.admin.call("PATCH", crd, {"metadata": {"annotations": {SCHEMA_DIGEST: ours}}})
    await rig.ready()


async def test_crds_that_are_deleted_while_it_runs(rig: Rig) -> None:
    operator = await rig.operators.start(resync_seconds="5")
    await rig.ready()
    await rig.delete()
    for file in CRDS.glob("*.yaml"):
        await rig.kube.admin.call("DELETE", f"{_CRDS}/{file.stem}.roomkeeper.dev")
    sentence = await said(operator, "CRDs are not installed")
    assert sentence == (
        "CRDs are not installed: matches.roomkeeper.dev, rooms.roomkeeper.dev, livekitservers.roomkeeper.dev; "
        "apply crds/ (or manifests/install.yaml) of this version"
    )
    assert operator.running

    cluster = Cluster(
        rig.where.server, rig.where.directory / "data" / "kubernetes" / "apiserver.crt", rig.where.admin_token
    )

    async def installed() -> None:
        try:
            await cluster.install(read_manifests([CRDS]))
        except Refused as refused:  # while the old ones are still being deleted
            raise AssertionError(str(refused)) from None

    await eventually(installed)
    await cluster.wait_for_matches()
    await cluster.close()
    await rig.ready()
    assert operator.running
