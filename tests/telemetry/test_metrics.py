"""What /metrics serves: names and labels that a dashboard relies on."""

from __future__ import annotations

import platform
from importlib import metadata

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from controller.telemetry.health import Health
from controller.telemetry.meters import RequestMeter
from controller.telemetry.pulse import Pulses


async def served() -> str:
    """The text of /metrics."""
    app = web.Application()
    Health(Pulses()).add_routes(app)
    async with TestClient(TestServer(app)) as client, client.get("/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_no_series_tells_when_another_series_was_created() -> None:
    RequestMeter("Redis", "a test").failed(0.1, "ERR")
    text = await served()
    assert 'roomkeeper_backend_call_duration_seconds_count{backend="Redis",operation="a test"} 1.0' in text
    assert "_created" not in text


async def test_the_build_says_which_version_runs_on_which_python() -> None:
    line = (
        f'roomkeeper_build_info{{python="{platform.python_version()}",version="{metadata.version("roomkeeper")}"}} 1.0'
    )
    assert line in (await served()).splitlines()
