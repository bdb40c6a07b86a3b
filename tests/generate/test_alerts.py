"""The alerts: each asks for metrics that exist, and leads to a section that helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from controller.generate.alerts import ALERTS, Alert
from controller.generate.alerts_page import alerts_page
from controller.generate.settings_pages import metrics_page

ROOT = Path(__file__).parents[2]
SERIES = set(re.findall(r"`(roomkeeper_\w+)` \|", metrics_page("")))
EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


@EACH
def test_an_alert_asks_for_metrics_that_the_operator_serves(alert: Alert) -> None:
    named = set(re.findall(r"roomkeeper_\w+", alert.expr))
    assert named
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= SERIES


@EACH
def test_an_alert_leads_to_a_section_with_four_parts_and_commands(alert: Alert) -> None:
    section = alerts_page("").split(f"## {alert.name}\n", 1)[1].split("\n## ", 1)[0]
    for part in ("Meaning", "Impact", "Diagnosis", "Mitigation"):
        assert f"**{part}.**" in section
    assert alert.diagnosis


@EACH
def test_the_default_limit_of_an_alert_is_that_of_the_chart(alert: Alert) -> None:
    values = yaml.safe_load((ROOT / "helm/roomkeeper/values.yaml").read_text())["prometheusRule"]["thresholds"]
    assert ("LIMIT" in alert.expr) == bool(alert.threshold)
    if alert.threshold:
        assert values[alert.threshold] == alert.limit
