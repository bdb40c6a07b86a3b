"""What one alert consists of: its rule, and its page for the person on call.

Neighbor: `generate.alerts` is the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.api.alert_names import AlertName


class AlertSeverity(StrEnum):
    """Whether a person is woken up."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that can be wrong: what the commands show of it, what it is, and what to do."""

    seen: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `expr` is true when it is to fire, and has `LIMIT` where the threshold stands.

    `threshold` is the name of the chart's value below `prometheusRule.thresholds`, with `limit` as its default; an
    alert without one has a fixed limit. `pending` is how long `expr` has to be true. `diagnosis` are commands, and
    `causes` say what their output means. `mitigation` helps whatever the cause.
    """

    name: AlertName
    severity: AlertSeverity
    expr: str
    pending: str
    summary: str
    meaning: str
    impact: str
    diagnosis: tuple[str, ...]
    causes: tuple[Cause, ...]
    mitigation: str
    threshold: str = ""
    limit: float = 0
