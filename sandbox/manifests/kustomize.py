"""`manifests/kustomize`: a base, and components that change it to what the chart renders with other values.

A component is the difference between two renderings: what it adds are its resources, what it takes away and what it
changes are strategic merge patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any, Final, TypeGuard

from controller.generate.yaml_text import yaml_text
from sandbox.endpoints import OPERATOR_NAMESPACE
from sandbox.manifests.render import Rendered

_COMPONENT: Final[dict[str, Any]] = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
_FILES: Final = {"Namespace": "namespace.yaml", "CustomResourceDefinition": "crds.yaml"}
_BASE: Final = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def base(objects: Sequence[Rendered]) -> dict[str, str]:
    """The files of the base, from all objects that it has."""
    parts: dict[str, list[Rendered]] = {file: [] for file in (*_FILES.values(), "operator.yaml")}
    for made in objects:
        parts[_FILES.get(made.kind, "operator.yaml")].append(made)
    files = {file: joined(made) for file, made in parts.items()}
    return {"kustomization.yaml": yaml_text({**_BASE, "namespace": OPERATOR_NAMESPACE, "resources": [*files]}), **files}


def component(before: Sequence[Rendered], after: Sequence[Rendered]) -> dict[str, str]:
    """The files of a component that makes `after` of `before`."""
    old, new = ({made.key: made for made in objects} for objects in (before, after))
    added = [made for key, made in new.items() if key not in old]
    patches = [_removal(made.body) for key, made in old.items() if key not in new]
    for key, made in new.items():
        if key in old and (change := difference(old[key].body, made.body)):
            patches.append({**_identity(made.body), **change})
    text = yaml_text(_COMPONENT | ({"resources": ["added.yaml"]} if added else {}))
    if patches:
        # Each by itself: kustomize 5.5 panics at a file with several removals.
        text += "patches:\n" + "".join(f"  - patch: |-\n{indent(yaml_text(patch), '      ')}" for patch in patches)
    return {"kustomization.yaml": text} | ({"added.yaml": joined(added)} if added else {})


def joined(objects: Sequence[Rendered]) -> str:
    """The objects as one file."""
    return "---\n".join(made.text for made in objects)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The strategic merge patch from one object to the other; empty if they are the same."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if before == value:
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            patch[key] = difference(before, value)
        elif _is_named(before) and _is_named(value):
            patch[key] = _changed_items(before, value)
        else:
            patch[key] = value
    return patch


def _changed_items(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The patch of a list that Kubernetes merges by name."""
    before, after = ({item["name"]: item for item in items} for items in (old, new))
    changes = [{"name": name, "$patch": "delete"} for name in before if name not in after]
    for name, item in after.items():
        if before.get(name) != item:
            changes.append({"name": name, **difference(before.get(name, {}), item)})
    return changes


def _is_named(value: Any) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, Mapping) and "name" in item for item in value)


def _removal(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"$patch": "delete", **_identity(body)}


def _identity(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: body["metadata"][key] for key in ("name", "namespace") if key in body["metadata"]}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}
