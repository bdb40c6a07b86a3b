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
class Limit:
    """A threshold: the name of the chart's value below `prometheusRule.thresholds`, and its default.

    `said` is the default in other words, where a number alone is hard to read.
    """

    name: str
    default: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `expr` is true when it is to fire, and has `$NAME` where the limit of that name stands.

    An alert without `limits` has fixed ones. `pending` is how long `expr` has to be true. `diagnosis` are commands, and
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
    limits: tuple[Limit, ...] = ()
