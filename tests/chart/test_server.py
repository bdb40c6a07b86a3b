"""Every case is accepted: by helm's linter, by the schemas of Kubernetes, and by the real API server."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from controller.rules.installations import SERVES
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.parts import locate
from tests.chart.cases import CASES, NAMESPACE, OTHERS, PRIVILEGED, Case
from tests.chart.conftest import Chart, Kubectl, Object
from tests.chart.openapi import kind_schemas
from tests.support.waiting import patience

pytestmark = pytest.mark.xdist_group("chart-server")


@pytest.fixture(scope="module")
async def schemas(server: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The API server's own schemas as kubeconform reads them: one file per kind, closed."""
    folder = tmp_path_factory.mktemp("schemas")
    async with Administrator.of(server) as admin:
        openapi = await admin.call("GET", "/openapi/v2")
    for name, schema in kind_schemas(openapi):
        (folder / name).write_text(json.dumps(schema))
    return folder


@pytest.mark.parametrize("name", CASES)
def test_helms_linter_has_nothing_to_say(chart: Chart, name: str) -> None:
    done = chart.run("lint", CASES[name], "--strict")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_the_schemas_of_kubernetes_hold(chart: Chart, name: str, schemas: Path) -> None:
    done = subprocess.run(
        [
            *(str(locate("kubeconform").path), "-strict", "-summary", "-output", "json"),
            *(
                "-schema-location",
                f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
                "-",
            ),
        ],
        input=chart.text(CASES[name]),
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(60),
    )
    answer = json.loads(done.stdout)
    assert done.returncode == 0, answer["resources"]
    assert answer["summary"]["valid"] == len(chart.objects(name))


@pytest.mark.parametrize("name", CASES)
def test_the_api_server_accepts_every_object(chart: Chart, name: str, kubectl: Kubectl) -> None:
    done = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"),
        text=yaml.safe_dump_all(chart.objects(name)),
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert len(done.stdout.splitlines()) == len(chart.objects(name))


@pytest.mark.parametrize("name", ["default", "highly available", "one Secret", "private registry", "recording"])
def test_restricted_pod_security_admits_every_pod(chart: Chart, name: str, kubectl: Kubectl) -> None:
    """The namespace enforces it. A Deployment would only be warned, so its template is tried as a pod."""
    tried = pods(chart.objects(name))
    assert {pod["metadata"]["name"] for pod in tried} == {"roomkeeper", "roomkeeper-uninstall", "roomkeeper-test"}
    done = kubectl(
        "-n", NAMESPACE, "create", "--dry-run=server", "--validate=strict", "-f", "-", text=yaml.safe_dump_all(tried)
    )
    assert done.returncode == 0, done.stderr
    assert all("runAsUser" not in yaml.safe_dump(pod) for pod in tried)


def test_the_same_admission_refuses_what_is_not_restricted(chart: Chart, kubectl: Kubectl) -> None:
    tried = [pod for pod in pods(chart.parsed(Case({**PRIVILEGED.values}))) if pod["metadata"]["name"] == "roomkeeper"]
    done = kubectl("-n", NAMESPACE, "create", "--dry-run=server", "-f", "-", text=yaml.safe_dump_all(tried))
    assert done.returncode != 0
    assert "violates PodSecurity" in done.stderr


async def test_the_notes_name_the_leases_of_other_operators_that_were_left_behind(
    chart: Chart, server: Endpoints
) -> None:
    now = datetime.now(UTC)
    renewed = {minutes: f"{now - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S.%fZ}" for minutes in (0, 5, 15)}
    leases = {"held": ("pod-1", 0), "killed": ("pod-7", 5), "released": ("", 15)}
    where = f"/apis/coordination.k8s.io/v1/namespaces/{OTHERS[0]}/leases"
    async with Administrator.of(server) as admin:
        for name, (holder, minutes) in leases.items():
            spec = {"holderIdentity": holder, "renewTime": renewed[minutes], "leaseDurationSeconds": 60}
            await admin.call("POST", where, {"metadata": {"name": name, "annotations": {SERVES: "{}"}}, "spec": spec})
        try:
            done = await asyncio.to_thread(
                chart.run,
                *("install", "fresh", Case({}), "--namespace", NAMESPACE, "--dry-run=server"),
                *("--set", "crds.enabled=false,createGlobalResources=false", "--kubeconfig", str(server.kubeconfig)),
            )
        finally:
            for name in leases:
                await admin.call("DELETE", f"{where}/{name}")
    assert done.returncode == 0, done.stderr
    said = done.stdout.partition("Another operator left its Lease behind:\n")[2].splitlines()
    assert said[:4] == [
        f"- {OTHERS[0]}/killed, held by pod-7, renewed for the last time at {renewed[5]}. Until ten minutes after "
        "that, this release leaves the namespaces to it that both are set up for. If it is gone for good:",
        f"  kubectl -n {OTHERS[0]} delete lease killed",
        f"- {OTHERS[0]}/released, released at {renewed[15]}. If it is gone for good:",
        f"  kubectl -n {OTHERS[0]} delete lease released",
    ]
    assert "held, held by" not in done.stdout


def pods(objects: list[Object]) -> list[Object]:
    """A pod of every template, and the pods themselves, without what needs other objects."""
    found = []
    for body in copy.deepcopy(objects):
        if body["kind"] == "Pod":
            found.append(body)
        elif body["kind"] in ("Deployment", "Job"):
            pod = {"apiVersion": "v1", "kind": "Pod", **body["spec"]["template"]}
            pod["metadata"] |= {"name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"]}
            found.append(pod)
    return found
