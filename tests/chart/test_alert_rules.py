"""The rules of the chart in the real promtool: each alert fires, does not fire just below its limit, and resolves.

All of them are one run of promtool, in which time is simulated; the tests read its answer.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api.alert_names import AlertName as A
from sandbox.parts import ensure
from sandbox.progress import Progress
from tests.chart.cases import Case
from tests.chart.conftest import Chart
from tests.support.waiting import patience

_ENABLED = {"prometheusRule": {"enabled": True, "renderMode": "alwaysRender"}}
# Every series of the tests is of this release.
_OF_ALL = {"prometheusRule": {**_ENABLED["prometheusRule"], "selector": "release=~'.*'"}}
Series = dict[str, str]


@dataclass(frozen=True)
class Shown:
    """Series, one value a minute: `bad` for an hour and good for another; `below` is just good, for as long."""

    bad: Series
    below: Series
    labels: dict[str, str]
    fires: str = "50m"
    resolves: str = "119m"


_FINISHED = 'roomkeeper_matches_finished_total{reason="%s"}'
_READY = 'roomkeeper_match_ready_seconds_bucket{le="%s"}'
_MADE = "roomkeeper_match_ready_seconds_count"
_OF_READY = {_READY % "5.0": "0+100x120", _READY % "+Inf": "0+100x120", _MADE: "0+100x120"}
_MISSED = 'roomkeeper_webhooks_missed_total{server="%s"}'
_ACCEPTED = 'roomkeeper_webhooks_total{result="accepted",server="%s"}'
_SWEPT = 'roomkeeper_sweep_last_success_timestamp_seconds{sweep="deep"}'
_SWEEPS = 'roomkeeper_sweep_interval_seconds{sweep="deep"}'
_OVERDUE = 'roomkeeper_loop_overdue_seconds{loop="%s"}'
_ENDS = 'roomkeeper_certificate_expiry_timestamp_seconds{backend="LiveKit",use="client"}'
_LASTS = 'roomkeeper_certificate_lifetime_seconds{backend="LiveKit",use="client"}'
_LEADS = 'roomkeeper_leader{instance="a"}'


def _up(backend: str, server: str = "", instance: str = "a") -> str:
    return f'roomkeeper_backend_up{{backend="{backend}",server="{server}",instance="{instance}"}}'


CASES = {
    A.NO_LEADER: Shown({_LEADS: "0x60 1x60"}, {_LEADS: "1x120", 'roomkeeper_leader{instance="b"}': "0x120"}, {}),
    A.KUBERNETES_DOWN: Shown(
        {_up("Kubernetes"): "0x60 1x60", _up("Kubernetes", instance="b"): "1x120"},
        {_up("Kubernetes"): "0 1x49 0 1x69"},
        {"backend": "Kubernetes"},
    ),
    A.LIVEKIT_DOWN: Shown(
        {_up("LiveKit", "eu"): "0x60 1x60", _up("LiveKit", "us"): "1x120", _LEADS: "1x120"},
        # Another replica, which led before, does not ask any longer.
        {_up("LiveKit", "eu"): "1x120", _LEADS: "1x120", _up("LiveKit", "eu", "b"): "0x120"},
        {"backend": "LiveKit", "server": "eu"},
    ),
    A.REDIS_DOWN: Shown({_up("Redis"): "0x60 1x60"}, {_up("Redis"): "0 1x49 0 1x69"}, {"backend": "Redis"}),
    A.ERRORS: Shown(
        {'roomkeeper_errors_total{type="Redis",severity="High",recovery="Escalate"}': "0+2x60 120x60"},
        {
            'roomkeeper_errors_total{type="Redis",severity="High",recovery="Escalate"}': "0+1x120",
            'roomkeeper_errors_total{type="Redis",severity="Low",recovery="Retry"}': "0+50x120",
        },
        {"type": "Redis"},
    ),
    A.PEOPLE_DO_NOT_CONNECT: Shown(
        {_FINISHED % "NoShow": "0+4x60 240x60", _FINISHED % "Ended": "0+6x120"},
        {_FINISHED % "NoShow": "0+29x120", _FINISHED % "Ended": "0+71x120"},
        {},
    ),
    A.ROOM_LOST: Shown({_FINISHED % "RoomLost": "0x45 1x75"}, {_FINISHED % "RoomLost": "1x120"}, {}),
    A.SLOW_TO_READY: Shown(
        {_READY % "2.0": "0+90x60 5400+100x60", **_OF_READY},
        {_READY % "2.0": "0+99x120", **_OF_READY},
        {},
    ),
    A.OLDEST_WAITER: Shown(
        {"roomkeeper_oldest_waiter_seconds": "901x60 0x60"}, {"roomkeeper_oldest_waiter_seconds": "900x120"}, {}
    ),
    A.MATCH_STUCK: Shown(
        {'roomkeeper_oldest_object_seconds{kind="Match",phase="Terminating"}': "301x60 0x60"},
        {
            'roomkeeper_oldest_object_seconds{kind="Match",phase="Terminating"}': "300x120",
            'roomkeeper_oldest_object_seconds{kind="Match",phase="Active"}': "9000x120",
        },
        {"kind": "Match", "phase": "Terminating"},
    ),
    A.DELETION_STUCK: Shown(
        {'roomkeeper_oldest_deletion_seconds{kind="Room"}': "601x60 0x60"},
        {'roomkeeper_oldest_deletion_seconds{kind="Room"}': "600x120"},
        {"kind": "Room"},
    ),
    A.WEBHOOKS_MISSING: Shown(
        {
            _MISSED % "eu": "0+1x120",
            _ACCEPTED % "eu": "0x60 0+5x60",
            # Another server sends its webhooks to the right place.
            _MISSED % "us": "0+1x120",
            _ACCEPTED % "us": "0+5x120",
        },
        {_MISSED % "eu": "0+1x120", _ACCEPTED % "eu": "0+1x120"},
        {"server": "eu"},
    ),
    A.WATCH_STALE: Shown(
        {_OVERDUE % "watch": "16x60 0x60"},
        # The list comes every five minutes.
        {
            _OVERDUE % "watch": "15x120",
            _OVERDUE % "lag": "60x120",
            'roomkeeper_loop_age_seconds{loop="resync"}': "299x120",
        },
        {"loop": "watch"},
    ),
    A.LOOP_STALLED: Shown(
        {_OVERDUE % "streams": "16x60 0x60"},
        {
            _OVERDUE % "streams": "15x120",
            # A loop that comes round less often is not overdue.
            'roomkeeper_loop_age_seconds{loop="search"}': "600x120",
            'roomkeeper_loop_failures_total{loop="streams"}': "0x44 3x76",
        },
        {"loop": "streams"},
    ),
    A.CERTIFICATE_ENDS: Shown(
        # 14 days are 1209600 s; it was renewed after an hour.
        {_ENDS: "1211699x60 2419200x60", _LASTS: "7776000x120"},
        {_ENDS: "1212600x120", _LASTS: "7776000x120"},
        {"backend": "LiveKit", "use": "client"},
    ),
    A.SWEEP_FAILING: Shown(
        {_SWEPT: "1x299 18000x30", _SWEEPS: "3600x330"},
        {_SWEPT: "6600x300", _SWEEPS: "3600x300"},
        {"sweep": "deep"},
        fires="290m",
        resolves="310m",
    ),
}
MORE: dict[str, tuple[A, Series, dict[str, str]]] = {
    "no webhook was ever accepted": (A.WEBHOOKS_MISSING, {_MISSED % "eu": "0+1x120"}, {"server": "eu"}),
    "no replica is scraped": (A.NO_LEADER, {"up": "0x120"}, {}),
    "a loop fails again and again": (
        A.LOOP_STALLED,
        {'roomkeeper_loop_failures_total{loop="streams"}': "0x44 5x76"},
        {"loop": "streams"},
    ),
    "few Matches end, but enough of them": (
        A.PEOPLE_DO_NOT_CONNECT,
        {_FINISHED % "NoShow": "0+1.1x120", _FINISHED % "Ended": "0x120"},
        {},
    ),
    "few Matches are made, but enough of them": (
        A.SLOW_TO_READY,
        {_READY % "2.0": "0x120", **dict.fromkeys((_READY % "5.0", _READY % "+Inf", _MADE), "0+2.1x120")},
        {},
    ),
    "a certificate of a day has less than a fifth of it left": (
        A.CERTIFICATE_ENDS,
        {_ENDS: "19000x120", _LASTS: "86400x120"},
        {"backend": "LiveKit", "use": "client"},
    ),
    "Redis refuses what the sweep needs": (
        A.SWEEP_FAILING,
        {'roomkeeper_sweep_failing{sweep="light"}': "1x120"},
        {"sweep": "light"},
    ),
}
"""Other ways in which an alert fires."""
QUIET: dict[str, tuple[A, Series]] = {
    "a single Match ends, as a NoShow": (
        A.PEOPLE_DO_NOT_CONNECT,
        {_FINISHED % "NoShow": "0x44 1x76", _FINISHED % "Ended": "0x120"},
    ),
    "just below ten Matches end in ten minutes, all as NoShow": (
        A.PEOPLE_DO_NOT_CONNECT,
        {_FINISHED % "NoShow": "0+0.95x120"},
    ),
    "a certificate of a day has more than a fifth of it left": (
        A.CERTIFICATE_ENDS,
        {_ENDS: "21000x120", _LASTS: "86400x120"},
    ),
    "one webhook is lost at night": (A.WEBHOOKS_MISSING, {_MISSED % "eu": "0x44 1x76"}),
    "two Matches are made, and slowly": (
        A.SLOW_TO_READY,
        {_READY % "2.0": "0x120", **dict.fromkeys((_READY % "5.0", _READY % "+Inf", _MADE), "0x44 1x5 2x70")},
    ),
    "just below twenty Matches are made in ten minutes, all slowly": (
        A.SLOW_TO_READY,
        {_READY % "2.0": "0x120", **dict.fromkeys((_READY % "5.0", _READY % "+Inf", _MADE), "0+1.95x120")},
    ),
}
"""Times in which an alert says nothing, although a number looks bad."""


@pytest.fixture(scope="module")
def promtool(real_programs: None) -> Path:
    """promtool, with its libraries."""
    return ensure(["promtool"], Progress())["promtool"].path


@pytest.fixture(scope="module")
def rules(chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of rules, as the Prometheus Operator hands it to Prometheus."""
    (found,) = (o for o in chart.parsed(Case(_OF_ALL)) if o["kind"] == "PrometheusRule")
    file = tmp_path_factory.mktemp("alerts") / "rules.yaml"
    file.write_text(yaml.safe_dump(found["spec"], sort_keys=False))
    return file


@pytest.fixture(scope="module")
def alerts(rules: Path) -> dict[str, Any]:
    """The rules by name."""
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@pytest.fixture(scope="module")
def answer(promtool: Path, rules: Path, alerts: dict[str, Any]) -> str:
    """What promtool says of all cases in one run; empty if each is as it should be."""
    tests: list[dict[str, Any]] = []

    def add(name: str, title: str, series: Series, at: dict[str, dict[str, str] | None]) -> None:
        rule = alerts[name]
        tests.append(
            {
                "name": title,
                "interval": "1m",
                "input_series": [{"series": key, "values": values} for key, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": time, "alertname": name, "exp_alerts": [] if labels is None else [
                        {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": rule["annotations"]}
                    ]}
                    for time, labels in at.items()
                ],
            }
        )  # fmt: skip

    for name, shown in CASES.items():
        add(name, f"[{name} fires and resolves]", shown.bad, {shown.fires: shown.labels, shown.resolves: None})
        add(name, f"[{name} below its limit]", shown.below, {shown.fires: None})
    for why, (name, series, labels) in MORE.items():
        add(name, f"[{why}]", series, {"50m": labels})
    for why, (name, series) in QUIET.items():
        add(name, f"[{why}]", series, {f"{minute}m": None for minute in range(45, 61)})
    file = rules.with_name("tests.json")
    file.write_text(json.dumps({"rule_files": [rules.name], "evaluation_interval": "1m", "tests": tests}))
    return _run(promtool, "test", "rules", str(file))


def _run(promtool: Path, *words: str) -> str:
    done = subprocess.run([str(promtool), *words], capture_output=True, text=True, check=False, timeout=patience(60))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_promtool_accepts_the_rules(promtool: Path, rules: Path) -> None:
    assert _run(promtool, "check", "rules", "--lint-fatal", str(rules)) == ""


def test_alerts_are_about_their_own_release(chart: Chart) -> None:
    (found,) = (o for o in chart.parsed(Case(_ENABLED)) if o["kind"] == "PrometheusRule")
    rules = [rule for group in found["spec"]["groups"] for rule in group["rules"]]
    series = [one for rule in rules for one in re.findall(r"roomkeeper_\w+.{0,40}", rule["expr"])]
    ours = f'{{namespace="{found["metadata"]["namespace"]}"'
    assert len(series) >= len(rules)
    assert [one for one in series if not re.match(rf"\w+{re.escape(ours)}[,}}]", one)] == []


def test_there_is_a_case_for_each_alert(alerts: dict[str, Any]) -> None:
    assert set(alerts) == set(CASES) == set(A)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_does_not_fire_below_its_limit_and_resolves(answer: str, name: str) -> None:
    assert f"[{name} fires and resolves]" not in answer, answer
    assert f"[{name} below its limit]" not in answer, answer


@pytest.mark.parametrize("why", MORE)
def test_an_alert_fires_for_each_of_its_reasons(answer: str, why: str) -> None:
    assert f"[{why}]" not in answer, answer


@pytest.mark.parametrize("why", QUIET)
def test_an_alert_says_nothing_about_few_calls_and_short_lives(answer: str, why: str) -> None:
    assert f"[{why}]" not in answer, answer


def test_promtool_ran_to_its_end(answer: str) -> None:
    assert answer == ""


def test_an_alert_leads_to_its_page(alerts: dict[str, Any]) -> None:
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/alerts/{name}.md")


def test_thresholds_and_the_place_of_the_pages_are_values_of_the_chart(chart: Chart) -> None:
    own = {"runbookUrl": "https://wiki.example.com/calls/", "thresholds": {"oldestWaiterSeconds": 61.5}}
    rendered = json.dumps(chart.parsed(Case({"prometheusRule": {**_ENABLED["prometheusRule"], **own}})))
    assert re.search(r"max\(roomkeeper_oldest_waiter_seconds\{[^}]*\}\) > 61.5", rendered)
    assert "https://wiki.example.com/calls/RoomkeeperNoLeader.md" in rendered
