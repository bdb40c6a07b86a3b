"""The alerts: each asks for metrics that exist, and leads to a page that helps; each grave error has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from controller.api.alert_names import AlertName
from controller.api.failures_table import FAILURES
from controller.generate.alert import Alert
from controller.generate.alerts import ALERTS
from controller.generate.alerts_page import alert_pages, alerts_page
from controller.generate.settings_pages import metrics_page

ROOT = Path(__file__).parents[2]
SERIES = set(re.findall(r"`(roomkeeper_\w+)` \|", metrics_page("")))
EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


@EACH
def test_an_alert_asks_for_metrics_that_the_operator_serves(alert: Alert) -> None:
    named = set(re.findall(r"roomkeeper_\w+", alert.expr))
    assert named
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= SERIES


def test_every_name_of_an_alert_has_exactly_one_row() -> None:
    assert sorted(alert.name for alert in ALERTS) == sorted(AlertName)


@EACH
def test_an_alert_leads_to_a_page_with_four_parts_and_commands(alert: Alert) -> None:
    page = alert_pages("")[f"alerts/{alert.name}.md"]
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert f"[{alert.name}](alerts/{alert.name}.md)" in alerts_page("")
    assert alert.diagnosis
    assert alert.causes


def test_an_error_that_is_worth_an_alert_leads_to_its_page() -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    for row in FAILURES.values():
        (line,) = re.findall(rf"^\| \[{row.code}\].*$", page, re.MULTILINE)
        assert (f"(alerts/{row.alert}.md) |" in line) == (row.alert is not None)
        assert row.alert is not None or "alerts/" not in line


@EACH
def test_the_default_limits_of_an_alert_are_those_of_the_chart(alert: Alert) -> None:
    values = yaml.safe_load((ROOT / "helm/roomkeeper/values.yaml").read_text())["prometheusRule"]["thresholds"]
    assert set(re.findall(r"\$(\w+)", alert.expr)) == {limit.name for limit in alert.limits}
    assert set(values) == {limit.name for each in ALERTS for limit in each.limits}
    assert [values[limit.name] for limit in alert.limits] == [limit.default for limit in alert.limits]
