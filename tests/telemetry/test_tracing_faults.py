"""A fault of the library that makes spans costs spans: no request, no Event, no start of the operator."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from structlog.testing import capture_logs

from controller.app.tracing import traced
from controller.clients.request import Requests
from controller.errors import Backend, BackendUnavailable
from controller.settings import Settings
from controller.telemetry import tracing
from controller.telemetry.otel import OtelTracing
from controller.telemetry.otlp import Once
from controller.telemetry.tracing import MatchSpan, Work, working
from tests import values as b

UID = "0b5f6c1e-8d2a-4c39-9a51-1f0e6c7d8b90"
WORK = Work(UID, "reconcile Match")
COLLECTOR = "http://127.0.0.1:9"


class Fault(Exception):
    """What a library raises that has a fault."""


class Faulty:
    """Tracing of which one part raises: `begin`, `request`, `note`, `end`, `end of work`, `match over` or `sampled`."""

    def __init__(self, part: str) -> None:
        self._part = part
        self.raised = 0

    def reach(self, part: str) -> None:
        """Raise, if this is the part with the fault."""
        if part == self._part:
            self.raised += 1
            raise Fault("invalid type NoneType for attribute")

    def begin(self, _work: Work) -> FaultyDoing:
        self.reach("begin")
        return FaultyDoing(self)

    def match_over(self, _match: MatchSpan) -> None:
        self.reach("match over")


class FaultyDoing:
    def __init__(self, tracing: Faulty) -> None:
        self._tracing = tracing

    @property
    def is_sampled(self) -> bool:
        self._tracing.reach("sampled")
        return True

    def request(self, _backend: str, _operation: str, _address: str) -> FaultySpan:
        self._tracing.reach("request")
        return FaultySpan(self._tracing)

    def end(self, _error: str = "") -> None:
        self._tracing.reach("end of work")


class FaultySpan:
    def __init__(self, tracing: Faulty) -> None:
        self._tracing = tracing

    def note(self, _attributes: tracing.Attributes, _name: str = "") -> None:
        self._tracing.reach("note")

    def end(self, _error: str = "") -> None:
        self._tracing.reach("end")


@pytest.fixture(autouse=True)
def _off_at_the_end() -> Iterator[None]:
    yield
    tracing.switch_on(None)


PARTS = ("begin", "sampled", "request", "note", "end", "end of work", "match over")


@pytest.mark.parametrize("part", PARTS)
async def test_a_fault_in_any_part_costs_no_request_and_is_told_once(part: str) -> None:
    faulty = Faulty(part)
    requests = Requests(Backend.REDIS, (LookupError,))

    async def answered() -> str:
        tracing.flag()
        tracing.note({"url.path": "/"})
        return "answer"

    async def refused() -> str:
        raise LookupError

    def translate(_error: Exception) -> BackendUnavailable:
        return BackendUnavailable(Backend.REDIS, "claim", "no answer in time", code="timeout")

    with capture_logs() as lines:
        tracing.switch_on(faulty)
        for _ in range(2):
            with working(WORK):
                assert await requests.send("claim", answered, translate) == "answer"
            with pytest.raises(BackendUnavailable, match="no answer in time"), working(WORK):
                await requests.send("claim", refused, translate)
            tracing.match_over(MatchSpan(UID, b.at(0), b.at(9), {}, ()))
    assert faulty.raised > 1
    told = [line for line in lines if "trac" in line["event"]]
    assert [(line["log_level"], line["why"]) for line in told] == [
        ("warning", "Fault: invalid type NoneType for attribute")
    ]


async def test_what_ends_a_request_from_outside_still_ends_it() -> None:
    tracing.switch_on(Faulty("end"))
    requests = Requests(Backend.REDIS, (LookupError,))
    task = asyncio.create_task(_waiting(requests))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _waiting(requests: Requests) -> None:
    with working(WORK):
        await requests.send("claim", asyncio.Event().wait, lambda _: pytest.fail("no error of a library"))


def settings(endpoint: str = COLLECTOR) -> Settings:
    return Settings(
        livekit_url="ws://l:1",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("s" * 32),
        redis_url="redis://r:1",
        trace_endpoint=endpoint,
    )


# What the library refuses, each with a value that a user may well write.
REFUSED = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "256",  # below the default of OTEL_BSP_MAX_EXPORT_BATCH_SIZE
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096",
    "OTEL_BSP_SCHEDULE_DELAY": "0",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "many",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-5",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "missing",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_variable_that_the_library_refuses_costs_traces_and_no_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, REFUSED[name])
    with capture_logs() as lines:
        async with traced(settings(), "replica"):
            assert not tracing.is_on()
    [line] = lines
    assert line["log_level"] == "warning"
    assert line["event"].startswith("there are no traces")
    assert line["why"], "what the library says"


async def test_an_address_that_makes_no_sense_in_a_variable_costs_traces_and_no_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1")
    with capture_logs() as lines:
        async with traced(settings(""), "replica"):
            assert not tracing.is_on()
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_variable_that_the_library_refuses_when_it_is_imported_costs_no_start() -> None:
    """The library reads one of its variables when it is imported, so a process of its own imports it."""
    program = """
import asyncio
from controller.app.tracing import traced
from controller.settings import Settings
from controller.telemetry import tracing

async def start():
    async with traced(Settings.model_construct(trace_endpoint="http://127.0.0.1:9", trace_ratio=1.0), "replica"):
        assert not tracing.is_on()

asyncio.run(start())
"""
    started = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr


class Raises(InMemorySpanExporter):
    """An exporter with a fault."""

    def export(self, spans: Any) -> SpanExportResult:
        raise Fault("no such encoding")


def test_an_exporter_that_raises_is_one_that_cannot_send() -> None:
    with capture_logs() as lines:
        once = Once(Raises(), "http://collector:4318/v1/traces")
        assert once.export([]) is SpanExportResult.FAILURE
        once.export([])
    assert [(line["log_level"], line["why"]) for line in lines] == [("warning", "Fault: no such encoding")]


class CannotEnd(InMemorySpanExporter):
    """An exporter whose end has a fault."""

    def shutdown(self) -> None:
        raise Fault("already closed")


async def test_an_exporter_that_cannot_end_holds_up_no_stop() -> None:
    made = OtelTracing(CannotEnd())
    with capture_logs() as lines:
        await made.end()
    assert [(line["log_level"], line["why"]) for line in lines] == [("warning", "Fault: already closed")]
