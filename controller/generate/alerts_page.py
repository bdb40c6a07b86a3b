"""What is made from the table of alerts: docs/alerts.md, a page for each alert, and the rules of the chart.

Neighbors: `generate.alerts` has the table, `generate.command` writes the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from controller.api.alert_names import AlertName
from controller.generate.alert import Alert
from controller.generate.alerts import ALERTS
from controller.generate.markdown import table

_INTRODUCTION: Final = """\
The chart has these alerts for the Prometheus Operator: `prometheusRule.enabled`. Their limits are values below
`prometheusRule.thresholds`. Each alert leads to its page, which has what it means, whom it concerns, the commands that
find the cause, and what to do; `prometheusRule.runbookUrl` is the address above the pages.
[runbook.md](runbook.md) has more of what to do for calls, and [errors.md](errors.md) names the alert of each error.

An API key of LiveKit has no end, so there is no alert for it: [configuration.md](configuration.md) says how to change
it."""
_COMMANDS: Final = "`roomkeeper-system` is the namespace of the operator, and `roomkeeper` its Deployment."
_HEADER: Final = "{{{{- /* Made by `{command}` from controller/generate/alerts.py; edit that instead. */}}}}\n"
_OURS: Final = (
    '{{- $ours := include "roomkeeper.namespace" . | printf "namespace=%q" }}\n'
    "{{- $ours = default $ours .Values.prometheusRule.selector }}\n"
    '{{- $pages := trimSuffix "/" .Values.prometheusRule.runbookUrl }}\n'
)
_SERIES: Final = re.compile(r"(roomkeeper_\w+)(?:\{([^}]*)\})?")
_LIMIT: Final = re.compile(r"\$(\w+)")
_DOCS: Final = re.compile(r"\bdocs/([\w/-]+\.md)")


def alerts_page(header: str) -> str:
    """The list of all alerts."""
    head = ("alert", "severity", "after", "it fires when", "thresholds")
    rows = ((f"[{a.name}](alerts/{a.name}.md)", a.severity, a.pending, a.summary, _limits(a)) for a in ALERTS)
    return "\n\n".join([header, "# Alerts", _INTRODUCTION, table(head, rows)]) + "\n"


def alert_pages(header: str) -> dict[str, str]:
    """The page of each alert, to which its `runbook_url` leads, by its path below docs/."""
    return {
        f"alerts/{a.name}.md": "\n\n".join([header, *(_linked(text, a.name) for text in _sections(a))]) + "\n"
        for a in ALERTS
    }


def _sections(alert: Alert) -> Iterator[str]:
    yield f"# {alert.name}"
    word = " The limit is" if len(alert.limits) == 1 else " The limits are"
    limits = f"{word} {_limits(alert)}." if alert.limits else ""
    yield f"{alert.summary}. Severity: {alert.severity}, after {alert.pending}.{limits}"
    yield f"## Meaning\n\n{alert.meaning}"
    yield f"## Impact\n\n{alert.impact}"
    yield f"## Diagnosis\n\n{_COMMANDS}\n\n```sh\n" + "\n".join(alert.diagnosis) + "\n```"
    yield table(("you see", "the cause", "do"), ((c.seen, c.what, c.remedy) for c in alert.causes))
    yield f"## Mitigation\n\n{alert.mitigation}"


def _linked(text: str, own: AlertName) -> str:
    """Pages of ours as links, also those of the alerts beside `own`. Commands have none."""
    if "```" in text:
        return text
    text = _DOCS.sub(r"[\1](../\1)", text)
    for other in AlertName:
        text = text if other is own else re.sub(rf"\b{other}\b", f"[{other}]({other}.md)", text)
    return text


def _limits(alert: Alert) -> str:
    return " and ".join(
        f"`{limit.name}`, by default {limit.default}" + (f" ({limit.said})" if limit.said else "")
        for limit in alert.limits
    )


def alerts_template(command: str) -> str:
    """The named template of the chart with all rules."""
    rules = "".join(map(_rule, ALERTS))
    return _HEADER.format(command=command) + '{{- define "roomkeeper.alerts" -}}\n' + _OURS + rules + "{{- end }}\n"


def _rule(alert: Alert) -> str:
    expr = _SERIES.sub(_of_release, _LIMIT.sub(r"{{ .Values.prometheusRule.thresholds.\1 }}", alert.expr))
    return (
        f"- alert: {alert.name}\n"
        f"  expr: >-\n    {expr}\n"
        f"  for: {alert.pending}\n"
        f"  labels:\n    severity: {alert.severity}\n"
        f"  annotations:\n    summary: {alert.summary}\n"
        f"    description: >-\n      {alert.meaning} {alert.impact}\n"
        f'    runbook_url: {{{{ printf "%s/{alert.name}.md" $pages | quote }}}}\n'
    )


def _of_release(series: re.Match[str]) -> str:
    """The series of this release alone: another one beside it has alerts of its own."""
    name, labels = series.groups()
    return name + "{ {{- $ours }}" + (f", {labels}" if labels else "") + "}"
