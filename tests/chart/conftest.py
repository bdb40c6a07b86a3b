"""Fixtures of the chart's tests: each case rendered once, and the API server with all that the cases name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.administrator import APPLY_PATCH, Administrator
from sandbox.endpoints import Endpoints
from sandbox.manifests.command import CHART
from sandbox.parts import locate
from sandbox.parts.foreign import foreign_crds
from sandbox.progress import Progress
from sandbox.source import ROOT
from tests.chart.cases import CASES, NAMESPACE, OTHERS, Case
from tests.chart.openapi import kinds_of
from tests.support.waiting import eventually, patience

Object = dict[str, Any]


class Chart:
    """helm with our chart."""

    def __init__(self, helm: Path) -> None:
        self._helm = helm
        self._rendered: dict[str, list[Object]] = {}

    def template(self, case: Case) -> subprocess.CompletedProcess[str]:
        """Run `helm template`, to its end."""
        return self.run("template", case.release, case, "--namespace", case.namespace, *case.options)

    def run(self, command: str, *words: str | Case) -> subprocess.CompletedProcess[str]:
        """Run a command of helm on the chart; a Case among the words stands for the chart with its values."""
        case = next((word for word in words if isinstance(word, Case)), Case())
        arguments = [str(ROOT / CHART) if isinstance(word, Case) else word for word in words]
        return subprocess.run(
            [str(self._helm), command, *arguments, "--values", "-"],
            input=yaml.safe_dump(case.values),
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(60),
        )

    def text(self, case: Case) -> str:
        """The objects of a case as YAML."""
        done = self.template(case)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self, name: str) -> list[Object]:
        """The objects of one of the cases, rendered once."""
        if name not in self._rendered:
            self._rendered[name] = self.parsed(CASES[name])
        return self._rendered[name]

    def parsed(self, case: Case) -> list[Object]:
        """The objects of a case."""
        return [document for document in yaml.safe_load_all(self.text(case)) if document]

    def refusal(self, values: dict[str, Any], *options: str) -> str:
        """What helm says to values that it refuses."""
        done = self.template(Case(values, options=options))
        assert done.returncode != 0, "helm accepts these values"
        assert done.stdout == "", "something is rendered in spite of the refusal"
        return done.stderr


@pytest.fixture(scope="session")
def chart(real_programs: None) -> Chart:
    """helm with our chart, and what it has rendered."""
    return Chart(locate("helm").path)


@pytest.fixture(scope="session")
async def server(bare: Endpoints) -> Endpoints:
    """The API server with the namespaces, accounts and classes that the cases name."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    async with Administrator.of(bare) as admin:

        async def apply(path: str, body: Object) -> None:
            name = body["metadata"]["name"]
            await admin.call(
                "PATCH", f"{path}/{name}?fieldManager=tests&force=true", body, content_type=APPLY_PATCH, what=name
            )

        crds = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in foreign_crds(Progress())]
        for crd in crds:
            await apply("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        for name in (NAMESPACE, *OTHERS):
            labels = restricted if name == NAMESPACE else {}
            await apply(
                "/api/v1/namespaces",
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            )
        for name, namespace in ACCOUNTS:
            await apply(
                f"/api/v1/namespaces/{namespace}/serviceaccounts",
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
            )
        await apply(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "chart-calls"},
                "value": 7,
            },
        )
        await apply(
            "/apis/node.k8s.io/v1/runtimeclasses",
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": "chart-calls"},
                "handler": "runc",
            },
        )
        served = {(crd["spec"]["group"], crd["spec"]["names"]["kind"]) for crd in crds}

        async def described() -> None:
            openapi = await admin.call("GET", "/openapi/v2")
            assert served <= {(kind["group"], kind["kind"]) for _, kind in kinds_of(openapi)}

        await eventually(described)
    return bare


# A pod needs its ServiceAccount even in a dry run.
ACCOUNTS = [
    (name, NAMESPACE)
    for name in (
        *("roomkeeper", "roomkeeper-uninstall", "mine", "remover", "calls-roomkeeper"),
        *("a-release-whose-name-is-as-long-as-helm-allows-it",),
    )
] + [("rk", OTHERS[0]), ("roomkeeper", OTHERS[0])]

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def kubectl(server: Endpoints) -> Kubectl:
    """kubectl as administrator of that API server."""

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(locate("kubectl").path), "--kubeconfig", str(server.kubeconfig), *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(90),
        )

    return run
