"""docs/reference/rights.md lists exactly the rights that `manifests/install.yaml` gives to the operator."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from controller.api.names import SERVICE_ACCOUNT, SYSTEM_NAMESPACE
from tests.docs.known import ROOT

Right = tuple[str, str, str]
"""Resource, verb, and a name or nothing."""

DOCUMENTS = list(yaml.safe_load_all((ROOT / "manifests/install.yaml").read_text(encoding="utf-8")))
OPERATOR = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": SYSTEM_NAMESPACE}


def _given() -> Iterator[Right]:
    roles = {
        (document["kind"], document["metadata"]["name"]): document
        for document in DOCUMENTS
        if document["kind"] in {"Role", "ClusterRole"}
    }
    bindings = [document for document in DOCUMENTS if document["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    for binding in bindings:
        if OPERATOR in binding["subjects"]:
            reference = binding["roleRef"]
            for rule in roles[reference["kind"], reference["name"]]["rules"]:
                yield from _rights(rule)


def _rights(rule: dict[str, Any]) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            full = f"{resource}.{group}" if group else resource
            for verb in rule["verbs"]:
                yield from ((full, verb, name) for name in rule.get("resourceNames", [""]))


def _told() -> Iterator[Right]:
    page = (ROOT / "docs/reference/rights.md").read_text(encoding="utf-8")
    resources, names = [""], [""]
    for cell, verbs in re.findall(r"^\| (`.*?`)? ?\| ([a-z, ]+) \| ", page, re.MULTILINE):
        if cell:
            left, _, right = cell.partition("`: ")
            resources, names = re.findall(r"[\w./]+", left), re.findall(r"[\w.-]+", right) or [""]
        for verb in verbs.split(", "):
            yield from ((resource, verb, name) for resource in resources for name in names)


def test_the_page_lists_exactly_the_rights_of_the_operator() -> None:
    told = list(_told())
    assert len(told) == len(set(told))
    assert set(told) == set(_given())
