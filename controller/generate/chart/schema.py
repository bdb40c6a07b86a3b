"""helm/roomkeeper/values.schema.json: what `helm install` accepts.

It is closed: a name that is no value is refused. Descriptions come from values.yaml, shapes from the defaults there and
from `shapes`, and the block `settings` from the operator's own settings. It is draft 7, which every Helm understands;
nothing is a `$ref`, because draft 7 ignores descriptions beside one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from controller.generate.chart.shapes import SHAPES, Shape, closed
from controller.generate.chart.values import Value, read_values, tree
from controller.settings import Settings

# These have values of their own, or the chart knows them.
_NOT_IN_SETTINGS: Final = frozenset(
    {
        *("livekit_url", "livekit_public_url", "livekit_api_key", "livekit_api_secret", "redis_url"),
        *("livekit_old_api_key", "livekit_old_api_secret"),
        *("namespace", "watch_namespaces", "lease_name", "webhook_port", "metrics_port", "record_dir"),
    }
)
_GLOBAL: Final[Shape] = {"type": "object", "description": "Values that Helm hands to all charts of a release; unused."}


def schema_text(values: str) -> str:
    """The schema as a file, from the text of values.yaml. Raises ValueError for a value whose shape is not known."""
    found = read_values(values)
    if unknown := sorted(set(SHAPES) - {value.name for value in found}):
        raise ValueError(f"controller/generate/chart/shapes.py has no value of values.yaml: {', '.join(unknown)}")
    root = _group(tree(found))
    root["properties"]["global"] = _GLOBAL
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart roomkeeper", **root}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def camel_case(field: str) -> str:
    """The name of a setting in the block `settings`: `log_level` → `logLevel`."""
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)


def settings_in_values() -> dict[str, str]:
    """The settings of the operator that the block `settings` has: their names there, with the field's name."""
    return {
        camel_case(field): field
        for field in Settings.model_fields
        if field not in _NOT_IN_SETTINGS and not field.endswith("_file")
    }


def _group(node: Mapping[str, Any]) -> Shape:
    shapes = {key: _leaf(child) if isinstance(child, Value) else _group(child) for key, child in node.items()}
    # `null` takes a default away, and where a number is left out, what is rendered makes no sense.
    numbers = [key for key, shape in shapes.items() if shape.get("type") in ("integer", "number")]
    return closed(shapes) | ({"required": numbers} if numbers else {})


def _leaf(value: Value) -> Shape:
    if value.name == "settings":
        return {"description": value.description, **_settings()}
    shape = SHAPES.get(value.name) or _shape_of_default(value)
    return {"description": value.description, **shape, "default": value.default}


def _shape_of_default(value: Value) -> Shape:
    for kind, name in ((bool, "boolean"), (int, "integer"), (str, "string")):
        if isinstance(value.default, kind):
            return {"type": name} | ({"minimum": 0} if name == "integer" else {})
    raise ValueError(f"controller/generate/chart/shapes.py does not say what {value.name} may be")


def _settings() -> Shape:
    fields = Settings.model_json_schema()["properties"]
    return closed({name: _setting(fields[field]) for name, field in settings_in_values().items()})


def _setting(field: dict[str, Any]) -> Shape:
    kept = ("description", "type", "enum", "minimum", "maximum", "pattern", "minLength", "default")
    shape = {key: field[key] for key in kept if key in field}
    if "type" not in shape:
        raise ValueError(f"a setting has a type that the chart cannot offer: {field}")
    return shape
