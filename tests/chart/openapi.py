"""The OpenAPI document of an API server as JSON Schemas for kubeconform: closed, with numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

_REFERENCE: Final = "#/definitions/"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def kind_schemas(openapi: Schema) -> Iterator[tuple[str, Schema]]:
    """For every kind the name of its file, `deployment-apps-v1.json`, and its schema."""
    definitions = {name: _closed(name, schema) for name, schema in openapi["definitions"].items()}
    for name, kind in kinds_of(openapi):
        used = {used: definitions[used] for used in _reachable(name, definitions)}
        yield _file(kind), {"$ref": _REFERENCE + name, "definitions": used}


def kinds_of(openapi: Schema) -> Iterator[tuple[str, dict[str, str]]]:
    """The name of each definition that is a kind, with its group, version and kind."""
    for name, schema in openapi["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            yield name, kind


def _file(kind: Schema) -> str:
    """As kubeconform calls it: the group up to its first dot, and none for the core."""
    parts = (kind["kind"].lower(), kind["group"].partition(".")[0], kind["version"])
    return "-".join(part for part in parts if part) + ".json"


def _closed(name: str, schema: Schema) -> Schema:
    closed: Schema = _with_numbers(schema)
    if name == _QUANTITY:
        return {"type": ["string", "number"]}
    if "properties" in closed and not any(key.startswith("x-kubernetes-preserve") for key in closed):
        closed["additionalProperties"] = False
    return closed


def _with_numbers(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_numbers(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    return {key: _with_numbers(value) for key, value in schema.items()}


def _reachable(name: str, definitions: dict[str, Schema]) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        seen.add(here := waiting.pop())
        waiting.extend(set(re.findall(r"'\$ref': '#/definitions/([^']+)'", repr(definitions[here]))) - seen)
    return seen
