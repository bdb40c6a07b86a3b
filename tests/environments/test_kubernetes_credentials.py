"""An operator outside of a pod, whose kubeconfig names a file or a plugin: replaced credentials cost it nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from sandbox.endpoints import Endpoints
from sandbox.trust import ssl_context
from tests.support.accounts import Account, shipped_rules
from tests.support.kube import Kube
from tests.support.rig import Rig
from tests.support.waiting import eventually


@pytest.fixture
async def account(kube: Kube) -> Account:
    """A ServiceAccount with the rights of an operator in the test's namespace alone."""
    made = Account(kube, kube.namespace)
    await made.bind(kube.namespace, shipped_rules())
    return made


def token_file(directory: Path) -> dict[str, Any]:
    """A user whose token is in the file `token`."""
    return {"tokenFile": str(directory / "token")}


def plugin(directory: Path) -> dict[str, Any]:
    """A user whose plugin prints the token that is in the file `token`."""
    script = directory / "plugin.py"
    script.write_text(
        "import json, os, pathlib\n"
        "asked = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        f"token = pathlib.Path({str(directory / 'token')!r}).read_text()\n"
        "print(json.dumps({**asked, 'status': {'token': token}}))\n"
    )
    version = "client.authentication.k8s.io/v1beta1"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(script)]}}


async def refused(where: Endpoints, token: str) -> None:
    """The API server no longer knows the token; it remembers for some seconds that it did."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{where.server}/apis/roomkeeper.dev/v1alpha1", ssl=ssl_context(where.ca)) as answer,
    ):
        assert answer.status == 401


@pytest.mark.parametrize("user", [token_file, plugin])
async def test_a_token_that_is_replaced_and_revoked_costs_neither_the_lease_nor_a_call(
    rig: Rig, account: Account, tmp_path: Path, user: Callable[[Path], dict[str, Any]]
) -> None:
    config = await account.create(tmp_path)
    document = yaml.safe_load(config.read_text())
    document["users"][0]["user"] = user(tmp_path)
    config.write_text(yaml.safe_dump(document))
    first = await account.revocable_token("first")
    (tmp_path / "token").write_text(first)
    operator = rig.operators.make(namespace=rig.kube.namespace)
    operator.environment["KUBECONFIG"] = str(config)
    await operator.start()
    await rig.active()
    # Redis may have seen a higher epoch than a new Lease begins with: then the operator has stepped down once already.
    epoch, begins = (await operator.metrics())("roomkeeper_epoch"), len(operator.log)

    (tmp_path / "token").write_text(await account.revocable_token("second"))
    await rig.kube.delete("Secret", "first")
    await eventually(lambda: refused(rig.where, first))
    await rig.ready("carol", "dave", name="next")
    assert (await rig.kube.match()).status.phase == "Active"
    assert (await operator.metrics())("roomkeeper_epoch") == epoch
    assert "lease lost" not in operator.log[begins:]
    assert operator.log.count("the credentials for Kubernetes were replaced") == 1
    await rig.delete()
    await rig.delete("next")
    await rig.kube.delete("Secret", "second")
