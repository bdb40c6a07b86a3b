"""`python -m sandbox.reference [--check]`: writes docs/reference/settings.md and metrics.md, or tells what is stale.

Both are made from the operator's code (`controller.settings`, `controller.telemetry.metrics`), so that they cannot say
anything else. The API has a generator of its own: `python -m controller.api.generate`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from controller.api.generated import Generator
from controller.api.markdown import table
from controller.settings import Settings, variable
from controller.telemetry import metrics

_COMMAND = "python -m sandbox.reference"


def settings_page() -> str:
    """All settings of the operator as a table."""
    schema = Settings.model_json_schema()
    required = set(schema["required"])
    rows = [
        (
            f"`{variable(name)}`",
            f"`--{name.replace('_', '-')}`",
            "**required**" if name in required else _default(field),
            _values(field),
            field["description"],
        )
        for name, field in schema["properties"].items()
    ]
    return _page(
        "controller/settings.py",
        "Settings",
        "Each is an environment variable, or a flag of `roomkeeper operator`; the flag wins. A wrong value, a\n"
        "missing one and an unknown `ROOMKEEPER_…` name stop the operator at its start, with one sentence per setting\n"
        "and exit status 2. Which cluster it works on is said by `KUBECONFIG`, or by the ServiceAccount of its pod.",
        table(("variable", "flag", "default", "values", "meaning"), rows),
    )


def metrics_page() -> str:
    """All metrics of the operator as a table."""
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
        for name, kind, labels, text in sorted(_metrics())
    ]
    return _page(
        "controller/telemetry/metrics.py",
        "Metrics",
        "Served in Prometheus' text format at `http://HOST:METRICS_PORT/metrics`, beside `/livez` and `/readyz`.\n"
        "Times are in seconds. No label holds the name of a user, a Match or a room: their number is not bounded.",
        table(("metric", "type", "labels", "meaning"), rows),
    )


def generated(_root: Path) -> dict[str, str]:
    """Every generated file by its path below the root, with its content."""
    return {"docs/reference/settings.md": settings_page(), "docs/reference/metrics.md": metrics_page()}


def _metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        for family in metric.describe():
            # Prometheus' own model leaves the suffix of counters to the samples.
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, tuple(metric._labelnames), family.documentation


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default in (None, ""):
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _values(field: dict[str, Any]) -> str:
    """What a setting may be, as far as the schema says."""
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "minimum" in field:
        kind = "whole number" if field["type"] == "integer" else "number"
        return f"{kind}, {field['minimum']:g} to {field['maximum']:g}"
    if "pattern" in field:
        return f"text like `{field['pattern']}`"
    if any(choice.get("format") == "path" for choice in field.get("anyOf", ())):
        return "path"
    return "secret" if field.get("writeOnly") else "text"


def _page(source: str, title: str, introduction: str, rows: str) -> str:
    return f"<!-- Made by `{_COMMAND}`; edit {source} instead. -->\n\n# {title}\n\n{introduction}\n\n{rows}\n"


GENERATOR = Generator(_COMMAND, "the reference of settings and metrics", "the operator's code", generated)

if __name__ == "__main__":
    sys.exit(GENERATOR.main())
