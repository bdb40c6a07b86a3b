"""What is made from the table of alerts: docs/alerts.md, and the rules of the chart.

Neighbors: `generate.alerts` has the table, `generate.command` writes the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.generate.alerts import ALERTS, Alert

_INTRODUCTION: Final = """\
The chart has these alerts for the Prometheus Operator: `prometheusRule.enabled`. Their limits are values below
`prometheusRule.thresholds`. In the commands, `roomkeeper-system` is the namespace of the operator and `calls` one of
Matches. [runbook.md](runbook.md) has more of what to do for calls."""
_HEADER: Final = "{{{{- /* Made by `{command}` from controller/generate/alerts.py; edit that instead. */}}}}\n"


def alerts_page(header: str) -> str:
    """The whole page: a section for each alert, to which its `runbook_url` leads."""
    return "\n\n".join([header, "# Alerts", _INTRODUCTION, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    for alert in ALERTS:
        yield f"## {alert.name}"
        yield f"{alert.summary}. Severity: {alert.severity}, after {alert.pending}.{_limit(alert)}"
        yield f"**Meaning.** {alert.meaning}"
        yield f"**Impact.** {alert.impact}"
        yield "**Diagnosis.**\n\n```sh\n" + "\n".join(alert.diagnosis) + "\n```"
        yield f"**Mitigation.** {alert.mitigation}"


def _limit(alert: Alert) -> str:
    value = f"`prometheusRule.thresholds.{alert.threshold}`"
    return f" The limit is {value}, by default {alert.limit:g}." if alert.threshold else ""


def alerts_template(command: str) -> str:
    """The named template of the chart with all rules."""
    rules = "".join(map(_rule, ALERTS))
    return _HEADER.format(command=command) + '{{- define "roomkeeper.alerts" -}}\n' + rules + "{{- end }}\n"


def _rule(alert: Alert) -> str:
    limit = f"{{{{ .Values.prometheusRule.thresholds.{alert.threshold} }}}}"
    expr = alert.expr.replace("LIMIT", limit)
    return (
        f"- alert: {alert.name}\n"
        f"  expr: >-\n    {expr}\n"
        f"  for: {alert.pending}\n"
        f"  labels:\n    severity: {alert.severity}\n"
        f"  annotations:\n    summary: {alert.summary}\n"
        f"    description: >-\n      {alert.meaning} {alert.impact}\n"
        f"    runbook_url: {{{{ .Values.prometheusRule.runbookUrl }}}}#{alert.name.lower()}\n"
    )
