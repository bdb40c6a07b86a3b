"""`manifests/`: fresh, free of Helm, accepted by the API server, and the same as the chart with other values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.cluster import read_manifests
from sandbox.manifests.command import BASE, COMPONENTS, FOLDER, GENERATOR, HIGHLY_AVAILABLE, MONITORED, NAMESPACED
from sandbox.manifests.kustomize import difference
from sandbox.source import CRDS, FINALIZER_POLICY, INSTALL, ROOT
from tests.chart.cases import Case
from tests.chart.conftest import Chart, Kubectl, Object
from tests.chart.test_rendering import CLUSTER_SCOPED

MANIFESTS = ROOT / FOLDER
SYSTEM = "roomkeeper-system"
HELMS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def read(path: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def by_key(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """The objects by kind and name. Variables are sorted: a patch adds them at another place."""
    for o in objects:
        if o["kind"] == "Deployment":
            o["spec"]["template"]["spec"]["containers"][0]["env"].sort(key=lambda item: item["name"])
    return {(o["kind"], o["metadata"]["name"]): o for o in objects}


def without_helm(objects: list[Object]) -> list[Object]:
    """The objects without hooks and tests, and without the labels of Helm."""
    kept = []
    for o in objects:
        if "helm.sh/hook" not in o["metadata"].get("annotations", {}):
            for label in HELMS:
                o["metadata"]["labels"].pop(label, None)
            kept.append(o)
    return kept


@pytest.fixture(scope="module")
def fresh(real_programs: None) -> None:
    """Only fresh files can be judged."""
    assert list(GENERATOR.stale()) == []


@pytest.mark.usefixtures("fresh")
def test_they_are_what_the_chart_renders() -> None:
    files = {str(path.relative_to(ROOT)) for path in MANIFESTS.rglob("*") if path.is_file()}
    assert files == set(GENERATOR.make(ROOT))


def test_they_have_nothing_that_only_helm_needs() -> None:
    for path in MANIFESTS.rglob("*.yaml"):
        assert "helm.sh" not in path.read_text(encoding="utf-8"), path
        assert "managed-by" not in path.read_text(encoding="utf-8"), path


def test_the_whole_installation_has_namespace_crds_and_deployment() -> None:
    found = by_key(read(INSTALL))
    namespace = found["Namespace", SYSTEM]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {name for kind, name in found if kind == "CustomResourceDefinition"} == {
        o["metadata"]["name"] for file in CRDS.glob("*.yaml") for o in read(file)
    }
    assert ("Deployment", "roomkeeper") in found
    assert all(o["metadata"].get("namespace", SYSTEM) == SYSTEM for o in found.values())


def test_the_crds_are_those_of_the_folder() -> None:
    """Other labels may be added; what the operator compares is the same."""
    found = by_key(read(INSTALL))
    for file in CRDS.glob("*.yaml"):
        for crd in read(file):
            made = found[crd["kind"], crd["metadata"]["name"]]
            assert made["spec"] == crd["spec"]
            assert made["metadata"]["annotations"] == crd["metadata"]["annotations"]


def test_the_namespaced_installation_has_no_object_of_the_cluster() -> None:
    objects = read(MANIFESTS / "install-namespaced.yaml")
    assert not {o["kind"] for o in objects} & set(CLUSTER_SCOPED)


def test_the_sandbox_takes_the_rights_and_runs_no_pod() -> None:
    objects = read_manifests([CRDS, INSTALL, FINALIZER_POLICY])
    kinds = [o["kind"] for o in objects]
    assert "Deployment" not in kinds
    assert kinds.count("CustomResourceDefinition") == 3
    assert {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "MutatingAdmissionPolicy"} <= set(kinds)


@pytest.mark.parametrize(
    "file", ["install.yaml", "install-namespaced.yaml", "finalizer-policy.yaml", "secret-policy.yaml"]
)
def test_the_api_server_accepts_them(file: str, kubectl: Kubectl) -> None:
    done = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"),
        *("-f", str(MANIFESTS / file)),
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


OVERLAYS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "the base": ((), {**BASE}),
    "namespaced": (("namespaced",), {**NAMESPACED}),
    "highly available": (("ha",), {**BASE, **HIGHLY_AVAILABLE}),
    "monitored": (("monitoring",), {**BASE, **MONITORED}),
    "all of them": (("namespaced", "ha", "monitoring"), {**NAMESPACED, **HIGHLY_AVAILABLE, **MONITORED}),
}


@pytest.mark.parametrize(("components", "values"), OVERLAYS.values(), ids=OVERLAYS)
def test_kustomize_makes_what_the_chart_renders(
    components: tuple[str, ...], values: dict[str, Any], chart: Chart, kubectl: Kubectl, tmp_path: Path
) -> None:
    built = overlay(tmp_path, components, kubectl)
    rendered = without_helm(chart.parsed(Case(values, namespace=SYSTEM)))
    expected = by_key(rendered)
    if "namespaced" not in components:
        expected["Namespace", SYSTEM] = by_key(read(INSTALL))["Namespace", SYSTEM]
    assert by_key(built) == expected


def test_a_namespace_of_an_overlay_moves_everything(kubectl: Kubectl, tmp_path: Path) -> None:
    built = overlay(tmp_path, ("ha", "monitoring"), kubectl, namespace="calls")
    assert SYSTEM not in yaml.safe_dump_all(built)
    assert ("Namespace", "calls") in by_key(built)


def test_all_components_are_tested() -> None:
    assert {name for names, _ in OVERLAYS.values() for name in names} == set(COMPONENTS)


def overlay(folder: Path, components: tuple[str, ...], kubectl: Kubectl, namespace: str = SYSTEM) -> list[Object]:
    """What `kubectl kustomize` makes of the base with these components."""
    # kustomize wants relative paths, and nothing outside of the folder but whole bases.
    (folder / "kustomize").symlink_to(MANIFESTS / "kustomize")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": ["kustomize/base"],
        "components": [f"kustomize/components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    done = kubectl("kustomize", str(folder))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def test_a_difference_is_the_least_that_must_be_said() -> None:
    old = {"a": 1, "b": {"c": [{"name": "x", "v": 1}, {"name": "y", "v": 1}], "d": 1}, "e": 1}
    new = {"a": 1, "b": {"c": [{"name": "x", "v": 2}, {"name": "z", "v": 1}], "d": 1}}
    assert difference(old, new) == {
        "e": None,
        "b": {"c": [{"name": "y", "$patch": "delete"}, {"name": "x", "v": 2}, {"name": "z", "v": 1}]},
    }
    assert difference(old, old) == {}
