"""What /metrics serves: names and labels that a dashboard relies on."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY
from prometheus_client.openmetrics import parser

from controller.api.failures import Recovery
from controller.api.failures_table import FAILURES
from controller.backends.put_right import PutRight
from controller.telemetry import metrics
from controller.telemetry.health import Health
from controller.telemetry.meters import BreakerMeter, RequestMeter
from controller.telemetry.pulse import LoopName, Pulses
from controller.telemetry.trace_ids import trace_id

# What Prometheus 3 sends.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def served(accept: str = "", content_type: str = TEXT) -> str:
    """The text of /metrics for a reader that accepts this."""
    app = web.Application()
    Health(Pulses()).add_routes(app)
    headers = {"Accept": accept} if accept else {}
    async with TestClient(TestServer(app)) as client, client.get("/metrics", headers=headers) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
        return await answer.text()


async def test_no_series_tells_when_another_series_was_created() -> None:
    RequestMeter("Redis", "a test").failed(0.1, "ERR")
    text = await served()
    assert 'roomkeeper_backend_call_duration_seconds_count{backend="Redis",operation="a test"} 1.0' in text
    assert "_created" not in text


def test_a_counter_whose_labels_are_known_is_there_before_the_first_time() -> None:
    """What first appears with 1 has not increased for Prometheus."""
    expected: set[tuple[Any, ...]] = {
        (
            "roomkeeper_errors_total",
            ("type", str(row.type)),
            ("severity", str(row.severity)),
            ("recovery", str(row.recovery)),
        )
        for row in FAILURES.values()
    }
    expected |= {("roomkeeper_error_recoveries_total", ("recovery", str(one))) for one in Recovery}
    expected |= {("roomkeeper_put_right_total", ("what", str(one))) for one in PutRight}
    expected |= {("roomkeeper_no_shows_total", ("detail", one)) for one in ("NeverSeen", "SignalOnly", "MediaFailed")}
    expected |= {
        ("roomkeeper_released_without_total", ("kind", kind), ("backend", backend))
        for kind in ("Match", "Room")
        for backend in ("LiveKit", "Redis")
    }
    missing = {name for name, *labels in expected if REGISTRY.get_sample_value(name, dict(labels)) is None}
    assert missing == set()


def test_the_failures_of_a_loop_are_counted_from_its_start_on() -> None:
    Pulses().start(LoopName.UNSERVED, 60)
    for name in ("roomkeeper_loop_failures_total", "roomkeeper_loop_item_failures_total"):
        assert REGISTRY.get_sample_value(name, {"loop": "unserved"}) == 0, name


def test_the_webhooks_of_a_livekit_server_are_counted_from_the_first_moment_on() -> None:
    BreakerMeter("LiveKit", "mars")
    BreakerMeter("Redis", "")
    assert REGISTRY.get_sample_value("roomkeeper_webhooks_missed_total", {"server": "mars"}) == 0
    assert REGISTRY.get_sample_value("roomkeeper_webhooks_total", {"server": "mars", "result": "accepted"}) == 0


async def test_the_build_says_which_version_runs_on_which_python() -> None:
    line = (
        f'roomkeeper_build_info{{python="{platform.python_version()}",version="{metadata.version("roomkeeper")}"}} 1.0'
    )
    assert line in (await served()).splitlines()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS, OPEN_METRICS),
        ("application/openmetrics-text", OPEN_METRICS),
        ("application/openmetrics-text; version=0.0.1", OPEN_METRICS),
        ("text/plain;q=0.4, application/openmetrics-text;version=1.0.0;q=0.5", OPEN_METRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPEN_METRICS),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4", TEXT),
        ("application/openmetrics-text;q=0,text/plain", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=much", TEXT),
        ("*/*", TEXT),
        ("text/*, application/openmetrics-text;q=0.9", TEXT),
        ("image/png", TEXT),
        ("", TEXT),
    ],
)
async def test_a_reader_gets_the_format_that_it_prefers(accept: str, expected: str) -> None:
    await served(accept, expected)


async def test_openmetrics_is_valid_and_has_exemplars_which_the_other_format_has_not() -> None:
    metrics.ready_seconds.observe(0.012, {"trace_id": "c" * 32})
    read: Any = parser.text_string_to_metric_families  # the library gives it no types
    families = list(read(await served(PROMETHEUS, OPEN_METRICS)))
    samples = [sample for family in families for sample in family.samples]
    found = [sample.exemplar.labels for sample in samples if sample.exemplar is not None]
    assert {"trace_id": "c" * 32} in found
    assert "trace_id" not in await served()


def test_a_trace_is_called_by_the_uid_of_its_match() -> None:
    uid = "0b5f6c1e-8d2a-4c39-9a51-1f0e6c7d8b90"
    assert trace_id(uid) == uid.replace("-", "")
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id(other)) for other in ("uid-1", "", "0" * 32))
