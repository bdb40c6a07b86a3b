"""What the token of the operator's ServiceAccount can do to Secrets, without and with the policy against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api.names import token_secret_name
from sandbox.administrator import Administrator, Answer
from tests.support.kube import Kube
from tests.support.waiting import eventually

POLICY = Path(__file__).parents[2] / "manifests" / "secret-policy.yaml"
TOKENS = token_secret_name("3f6c1e0a-0000-4000-8000-000000000001")
ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
# Deletes nothing, and yet the API server answers with the whole object.
READ_BY_DELETING = "?propagationPolicy=Foreground&dryRun=All"


@pytest.fixture
async def operator(kube: Kube) -> AsyncIterator[Administrator]:
    """A client with the operator's own token."""
    file = Path(kube.where.operator_env["KUBECONFIG"])
    config = yaml.safe_load(await asyncio.to_thread(file.read_text, encoding="utf-8"))
    async with Administrator(kube.where.server, kube.where.ca, config["users"][0]["user"]["token"]) as client:
        yield client


def _secret(name: str, kind: str = "Opaque", **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": annotations}, "type": kind, "stringData": {"word": "canary"}}


def _path(kube: Kube, name: str = "") -> str:
    return f"/api/v1/namespaces/{kube.namespace}/secrets" + (f"/{name}" if name else "")


async def _put(kube: Kube, operator: Administrator, *, in_force: bool) -> None:
    """Apply the policy or delete it, and wait until the API server goes by that."""
    words = ("apply", "--server-side", "--force-conflicts") if in_force else ("delete", "--ignore-not-found")
    done = await asyncio.to_thread(kube.kubectl, *words, "-f", str(POLICY))
    assert done.returncode == 0, done.stderr

    async def as_wished() -> None:
        answer = await operator.answer("POST", _path(kube) + "?dryRun=All", _secret("probe"))
        assert answer.status == (422 if in_force else 201), answer.message

    await eventually(as_wished, 30)


async def test_without_the_policy_the_right_to_delete_a_secret_reads_it(operator: Administrator, kube: Kube) -> None:
    await _put(kube, operator, in_force=False)
    await kube.admin.call("POST", _path(kube), _secret("bank"))
    assert (await operator.answer("GET", _path(kube, "bank"))).status == 403
    assert "data" in (await operator.answer("DELETE", _path(kube, "bank") + READ_BY_DELETING)).body


async def test_the_policy_leaves_the_operator_its_tokens_and_nothing_else(operator: Administrator, kube: Kube) -> None:
    await _put(kube, operator, in_force=True)
    await kube.admin.call("POST", _path(kube), _secret("bank"))

    def refused(answer: Answer) -> bool:
        return answer.status == 422 and "data" not in answer.body

    assert refused(await operator.answer("DELETE", _path(kube, "bank") + READ_BY_DELETING))
    assert refused(await operator.answer("DELETE", _path(kube, "bank")))
    assert refused(await operator.answer("PUT", _path(kube, "bank"), _secret("bank")))
    assert refused(await operator.answer("POST", _path(kube), _secret("rk-1")))
    account = {"kubernetes.io/service-account.name": "default"}
    assert refused(await operator.answer("POST", _path(kube), _secret(TOKENS, ACCOUNT_TOKEN, **account)))

    assert (await operator.answer("POST", _path(kube), _secret(TOKENS))).status == 201
    assert (await operator.answer("PUT", _path(kube, TOKENS), _secret(TOKENS))).status == 200
    assert (await operator.answer("DELETE", _path(kube, TOKENS))).status == 200
    # It is about the operator alone.
    assert (await kube.admin.answer("DELETE", _path(kube, "bank"))).status == 200
