"""The reference pages of the settings and of the metrics, made from `controller.settings` and `telemetry.metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from controller.generate.markdown import table
from controller.loop.wakes import WAKES
from controller.settings import FILE_FIELDS, Settings, file_field, variable
from controller.telemetry import metrics


def settings_page(header: str) -> str:
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
        header,
        "Settings",
        "Each is an environment variable, or a flag of `roomkeeper operator`; the flag wins. A wrong value, a\n"
        "missing one and an unknown `ROOMKEEPER_…` name stop the operator at its start, with one sentence per setting\n"
        "and exit status 2. `KUBECONFIG`, or the ServiceAccount of the pod, says which cluster it works on.",
        table(("variable", "flag", "default", "values", "meaning"), rows) + "\n\n" + _from_files(),
    )


def _from_files() -> str:
    """The settings whose value may be in a file."""
    rows = [
        (f"`{variable(file_field(name))}`", f"`--{file_field(name).replace('_', '-')}`", f"`{variable(name)}`")
        for name in FILE_FIELDS
    ]
    return (
        "## Values in files\n\n"
        "A variable or flag of this table is the path of a file that holds the value of another setting, and nothing\n"
        "else: no newline at its end. Setting a value and its file is an error. In a pod the file is a key of a\n"
        "Secret below `/etc/roomkeeper/secrets/<name of the Secret>/`; then the operator says which Secret or key is\n"
        "missing, and how to create it.\n\n" + table(("variable", "flag", "instead of"), rows)
    )


def metrics_page(header: str) -> str:
    """All metrics of the operator as a table."""
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)
        for name, kind, labels, text in sorted(_metrics())
    ]
    return _page(
        header,
        "Metrics",
        "Served at `http://HOST:METRICS_PORT/metrics`, beside `/livez` and `/readyz`, in OpenMetrics or in the text\n"
        "format of Prometheus, as the reader prefers. In OpenMetrics the histograms about Matches have exemplars:\n"
        "`trace_id` is the UID of a Match without its dashes. Prometheus keeps them with the flag\n"
        "`--enable-feature=exemplar-storage`.\n"
        "Times are in seconds. No label holds the name of a user, a Match or a room: their number is not bounded.",
        table(("metric", "type", "labels", "meaning"), rows) + "\n\n" + _wakes(),
    )


def _wakes() -> str:
    """The values of the label `source`, from the loop's own table."""
    rows = [(f"`{wake}`", rule.lane.name.lower(), rule.meaning) for wake, rule in WAKES.items()]
    return (
        "## Sources of wakes\n\n"
        "The label `source` of `roomkeeper_triggers_total` says why a key was put into the queue.\n"
        "Keys of the lane `lost` go first, then those of `people`, then those of `bulk`; a bulk key gets a turn from\n"
        "time to time.\n\n" + table(("source", "lane", "meaning"), rows)
    )


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
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _values(field: dict[str, Any]) -> str:
    """Return the allowed values of a setting, as the schema has them."""
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "boolean":
        return "`true`, `false`"
    if "minimum" in field:
        kind = "whole number" if field["type"] == "integer" else "number"
        return f"{kind}, {field['minimum']:g} to {field['maximum']:g}"
    if "pattern" in field:
        return f"text like `{field['pattern']}`"
    if any(choice.get("format") == "path" for choice in field.get("anyOf", ())):
        return "path"
    return "secret" if field.get("writeOnly") else "text"


def _page(header: str, title: str, introduction: str, rows: str) -> str:
    return f"{header}\n\n# {title}\n\n{introduction}\n\n{rows}\n"
