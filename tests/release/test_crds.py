"""The comparison of whole CRDs, on the CRDs of this tree with one change each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from release.crds import incompatibilities
from sandbox.source import CRDS

MATCHES = "matches.roomkeeper.dev"


def _crds() -> dict[str, Any]:
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in CRDS.glob("*.yaml")]
    return {document["metadata"]["name"]: document for document in documents}


RELEASED = _crds()


def _changed(change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is told if `change` is made to the CRD of Matches."""
    now = copy.deepcopy(RELEASED)
    change(now[MATCHES]["spec"])
    return incompatibilities(RELEASED, now)


def test_the_same_crds_are_compatible() -> None:
    assert incompatibilities(RELEASED, _crds()) == []


def test_a_crd_may_come_but_not_go() -> None:
    fewer = {name: crd for name, crd in RELEASED.items() if name != MATCHES}
    assert incompatibilities(fewer, RELEASED) == []
    assert incompatibilities(RELEASED, fewer) == [f"{MATCHES}: the CRD is gone"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda spec: spec.update(scope="Cluster"), f"{MATCHES}: `scope` was Namespaced and is Cluster"),
        (lambda spec: spec["names"].update(kind="Call"), f"{MATCHES}: `names.kind` was Match and is Call"),
        (lambda spec: spec["names"].update(shortNames=[]), f"{MATCHES}: `names.shortNames` has no mt any longer"),
        (
            lambda spec: spec["versions"][0].update(name="v1beta1"),
            f"{MATCHES}, v1alpha1: the version is gone",
        ),
        (
            lambda spec: spec["versions"][0].update(served=False),
            f"{MATCHES}, v1alpha1: the version is not served any longer",
        ),
        (
            lambda spec: spec["versions"][0].update(subresources={}),
            f"{MATCHES}, v1alpha1: the subresources were {{'status': {{}}}} and are {{}}",
        ),
        (
            lambda spec: spec["versions"][0]["selectableFields"].pop(0),
            f"{MATCHES}, v1alpha1: .status.phase cannot be selected any longer",
        ),
        (
            lambda spec: _schema(spec)["spec"]["properties"].pop("requeue"),
            f"{MATCHES}, v1alpha1: .spec.requeue: the field is gone",
        ),
    ],
)
def test_what_a_client_can_rely_on_may_not_go(change: Callable[[dict[str, Any]], object], told: str) -> None:
    assert _changed(change) == [told]


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["names"]["shortNames"].append("call"),
        lambda spec: spec["versions"].append(spec["versions"][0] | {"name": "v1beta1", "storage": False}),
        lambda spec: spec["versions"][0]["selectableFields"].append({"jsonPath": ".spec.placement.server"}),
        lambda spec: spec["versions"][0].update(additionalPrinterColumns=[]),
        lambda spec: _schema(spec)["spec"]["properties"].update(note={"type": "string", "maxLength": 5}),
    ],
)
def test_what_only_adds_is_compatible(change: Callable[[dict[str, Any]], object]) -> None:
    assert _changed(change) == []


def _schema(spec: dict[str, Any]) -> Any:
    return spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
