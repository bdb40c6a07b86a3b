"""Alerts and dashboards ask for series that exist: names of metrics, their labels, and the values of these labels."""

from __future__ import annotations

import re

import pytest
from prometheus_client import Counter, Gauge, Histogram

from controller.api.endings import EndCode, EndReason
from controller.api.failures import Severity
from controller.api.phases import MatchPhase, RoomPhase
from controller.errors import Backend
from controller.generate.alerts import ALERTS
from controller.generate.dashboard_panels import BOARDS
from controller.telemetry import metrics
from controller.telemetry.pulse import LoopName

OURS = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
# Prometheus gives these to every series; `le` is that of a histogram.
GIVEN = {"instance", "le"}
LABELS = {family.name: set(metric._labelnames) | GIVEN for metric in OURS for family in metric.describe()}
VALUES: dict[tuple[str, str], set[str]] = {
    ("roomkeeper_errors", "severity"): set(Severity),
    ("roomkeeper_matches_finished", "reason"): {*EndReason, *EndCode},
    ("roomkeeper_oldest_object_seconds", "phase"): {*MatchPhase, *RoomPhase},
    ("roomkeeper_backend_up", "backend"): set(Backend),
    ("roomkeeper_webhooks", "result"): {metrics.ACCEPTED},
    ("roomkeeper_loop_overdue_seconds", "loop"): set(LoopName),
    ("roomkeeper_backend_call_duration_seconds", "operation"): {"XREAD"},
}
QUERIES = {
    **{alert.name.value: alert.expr for alert in ALERTS},
    **{
        f"{board.title}: {panel.title}, {legend}": query
        for board in BOARDS
        for _, panels in board.rows
        for panel in panels
        for query, legend in panel.queries
    },
}
_SERIES = re.compile(r"\b(roomkeeper_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*[=!]~?\s*"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
EACH = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)


def _name(series: str) -> str:
    """The name of the metric that has the series."""
    return series if series in LABELS else re.sub(r"_(total|bucket|sum|count)$", "", series)


@EACH
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    known = set[str]()
    for series, matchers in _SERIES.findall(query):
        assert _name(series) in LABELS, series
        known |= LABELS[_name(series)]
        assert {label for label, _ in _MATCHER.findall(matchers)} <= LABELS[_name(series)], series
    grouped = {label.strip() for labels in _GROUPED.findall(query) for label in labels.split(",")}
    assert not known or grouped <= known


@EACH
def test_a_query_names_values_of_labels_that_exist(query: str) -> None:
    for series, matchers in _SERIES.findall(query):
        for label, values in _MATCHER.findall(matchers):
            assert set(values.split("|")) <= VALUES[_name(series), label], f"{series}: {label}"
