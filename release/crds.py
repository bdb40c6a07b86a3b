"""Compares the CRDs of this tree with those of the last release; docs/versioning.md says what is compatible. Pure.

What is around the schemas is compared here: names, scope, versions, subresources, selectable fields. `schemas.py`
compares the schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from release.schemas import refusals

CRD: TypeAlias = Mapping[str, Any]

LOOSENED: Final[Mapping[str, str]] = {}
"""Patterns and CEL rules that replace a stricter one since the last release, each with the reason why it is looser.

The comparison cannot see which of two rules is stricter. Empty this table after a release.
"""

_NAMES: Final = ("kind", "listKind", "plural", "singular")


def incompatibilities(
    before: Mapping[str, CRD], after: Mapping[str, CRD], loosened: Mapping[str, str] = LOOSENED
) -> list[str]:
    """One sentence for each change that is not compatible; both arguments hold CRDs by their name."""
    found: list[str] = []
    for name, crd in before.items():
        found += [f"{name}: the CRD is gone"] if name not in after else _changes(name, crd, after[name], loosened)
    return found


def _changes(name: str, before: CRD, after: CRD, loosened: Mapping[str, str]) -> Iterator[str]:
    was, now = before["spec"], after["spec"]
    for key in ("group", "scope"):
        if was[key] != now[key]:
            yield f"{name}: `{key}` was {was[key]} and is {now[key]}"
    for key in _NAMES:
        if was["names"].get(key) != now["names"].get(key):
            yield f"{name}: `names.{key}` was {was['names'].get(key)} and is {now['names'].get(key)}"
    for key in ("shortNames", "categories"):
        for lost in sorted(set(was["names"].get(key, ())) - set(now["names"].get(key, ()))):
            yield f"{name}: `names.{key}` has no {lost} any longer"
    versions = {version["name"]: version for version in now["versions"]}
    for version in was["versions"]:
        yield from _version(f"{name}, {version['name']}", version, versions.get(version["name"]), loosened)


def _version(
    where: str, before: Mapping[str, Any], after: Mapping[str, Any] | None, loosened: Mapping[str, str]
) -> Iterator[str]:
    if after is None:
        yield f"{where}: the version is gone"
        return
    if before["served"] and not after["served"]:
        yield f"{where}: the version is not served any longer"
    if before["storage"] != after["storage"]:
        yield f"{where}: `storage` was {before['storage']} and is {after['storage']}"
    if before.get("subresources", {}) != after.get("subresources", {}):
        yield f"{where}: the subresources were {before.get('subresources')} and are {after.get('subresources')}"
    paths = {field["jsonPath"] for field in after.get("selectableFields", ())}
    for field in before.get("selectableFields", ()):
        if field["jsonPath"] not in paths:
            yield f"{where}: {field['jsonPath']} cannot be selected any longer"
    was, now = (version["schema"]["openAPIV3Schema"] for version in (before, after))
    yield from (f"{where}: {told}" for told in refusals(was, now, loosened))
