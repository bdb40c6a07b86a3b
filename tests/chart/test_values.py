"""values.yaml, its schema and its uses: every value is used, every use is a value, and versions agree."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from controller.generate.chart.schema import schema_text, settings_in_values
from controller.generate.chart.values import CHART, Value, read_values
from controller.settings import Settings
from sandbox.source import ROOT

FOLDER = ROOT / CHART
TEXT = (FOLDER / "values.yaml").read_text(encoding="utf-8")
VALUES = read_values(TEXT)
SCHEMA = json.loads((FOLDER / "values.schema.json").read_text(encoding="utf-8"))

# For charts that depend on this one.
UNUSED = {"enabled"}
# Handed as a whole to a template that reads each key of a known list.
HANDED_ON = ("livenessProbe", "readinessProbe", "startupProbe", "serviceMonitor", "prometheusRule")


def uses() -> set[str]:
    """Every `.Values.…` of the templates, as a dotted path."""
    files = [file for file in (FOLDER / "templates").rglob("*") if file.is_file()]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return set(re.findall(r"(?:\.Values|\$values)\.((?:[A-Za-z0-9]+\.?)+)", text))


def test_every_value_is_used_in_a_template() -> None:
    used = uses() | {value.name for value in VALUES if value.path[0] in HANDED_ON and value.path[0] in uses()}
    assert {value.name for value in VALUES} - used - UNUSED == set()


def test_every_use_in_a_template_is_a_value() -> None:
    assert uses() - {value.name for value in VALUES} - set(HANDED_ON) == set()


def test_a_value_without_a_comment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values.yaml, line 4: a.c has no comment"):
        read_values("a:\n  # -- Known.\n  b: 1\n  c: 2\n")


def test_a_comment_may_have_several_lines() -> None:
    assert read_values("# -- One\n# two.\na: 1\n") == [Value(("a",), 1, "One two.")]


def test_a_value_whose_shape_nothing_says_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes.py does not say what new.list may be"):
        schema_text(TEXT + "new:\n  # -- A list.\n  list: []\n")


def test_a_shape_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes.py has no value of values.yaml: .*affinity"):
        schema_text("# -- One.\na: 1\n")


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema that has properties."""
    if "properties" in schema:
        yield path, schema
        for key, inner in schema["properties"].items():
            yield from objects(inner, f"{path}.{key}".lstrip("."))


def test_the_schema_is_closed_and_describes_every_value() -> None:
    assert all(schema["additionalProperties"] is False for _, schema in objects(SCHEMA))
    by_path = {
        f"{path}.{key}".lstrip("."): inner
        for path, schema in objects(SCHEMA)
        for key, inner in schema["properties"].items()
    }
    for value in VALUES:
        assert by_path[value.name]["description"] == value.description
    for name, field in settings_in_values().items():
        assert by_path[f"settings.{name}"]["description"] == Settings.model_fields[field].description


def test_the_schema_is_valid_and_accepts_the_defaults() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(TEXT))


def test_as_a_dependency_the_chart_accepts_the_values_that_helm_adds() -> None:
    values = yaml.safe_load(TEXT) | {"enabled": True, "global": {"storageClass": "fast"}}
    jsonschema.Draft7Validator(SCHEMA).validate(values)


def test_every_setting_is_a_value_of_the_chart_in_one_place() -> None:
    """In the block `settings`, or as a value of its own that sets the variable."""
    pod = (FOLDER / "templates" / "_pod.tpl").read_text(encoding="utf-8")
    in_block = set(settings_in_values().values())
    for field in Settings.model_fields:
        is_set = re.search(rf"\b(ROOMKEEPER_)?{field.upper().removesuffix('_FILE')}(_FILE)?\b", pod) is not None
        assert is_set is not (field in in_block), field


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = yaml.safe_load((FOLDER / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == chart["version"] == version
    assert f"ghcr.io/roomkeeper/roomkeeper:{version}" in chart["annotations"]["artifacthub.io/images"]


def test_the_chart_stops_the_pod_later_than_the_operator_by_the_same_default() -> None:
    templates = "".join(file.read_text(encoding="utf-8") for file in (FOLDER / "templates").glob("*.tpl"))
    defaults = set(re.findall(r'dig "stopSeconds" (\d+)', templates))
    assert defaults == {f"{Settings.model_fields['stop_seconds'].default:g}"}
