"""Traces: which work and which requests become spans, which Matches are kept, and what switches them on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import SecretStr
from structlog.testing import capture_logs

from controller.app.tracing import is_asked_for, ratio
from controller.clients.request import Requests
from controller.errors import Backend, BackendError, BackendUnavailable
from controller.settings import Settings
from controller.telemetry import tracing
from controller.telemetry.otel import OtelTracing, described, is_kept
from controller.telemetry.otlp import Once
from controller.telemetry.trace_ids import trace_id
from controller.telemetry.tracing import Link, MatchSpan, Work, link_of, root_span_id, working
from tests import values as b

UID = "0b5f6c1e-8d2a-4c39-9a51-1f0e6c7d8b90"
WORK = Work(UID, "reconcile Match", {"roomkeeper.name": "m"})


class LibraryError(Exception):
    """An exception that a library raises."""


def unavailable(_error: Exception) -> BackendError:
    return BackendUnavailable(Backend.REDIS, "claim", "identity: Invalid value: alice", code="timeout")


class Traced:
    """Tracing that keeps its spans."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = OtelTracing(self._exporter, ratio=ratio)
        self.requests = Requests(Backend.REDIS, (LibraryError,))
        self.requests.availability.introduce("redis://redis.example:6380/2")

    async def ask(self, operation: str = "claim", *, fails: bool = False) -> None:
        """Send one request."""

        async def attempt() -> None:
            tracing.note({"noted": "so"})
            if fails:
                raise LibraryError

        await self.requests.send(operation, attempt, unavailable)

    @property
    def spans(self) -> list[ReadableSpan]:
        """What was sent so far."""
        self.tracing._provider.force_flush()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    tracing.switch_on(traced.tracing)
    yield traced
    tracing.switch_on(None)
    traced.tracing._provider.shutdown()


def numbers(span: ReadableSpan) -> tuple[str, str, str]:
    """Trace, span and parent."""
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent is not None else ""
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


async def test_a_request_is_a_span_within_the_work_for_its_match(traced: Traced) -> None:
    with working(WORK):
        await asyncio.create_task(traced.ask())
        await traced.ask("HGETALL")
    claim, read, work = traced.spans
    assert (claim.name, read.name, work.name) == ("EVALSHA claim", "HGETALL", "reconcile Match")
    assert {numbers(span)[0] for span in traced.spans} == {trace_id(UID)}
    assert numbers(work)[2] == root_span_id(UID)
    assert {numbers(claim)[2], numbers(read)[2]} == {numbers(work)[1]}
    assert dict(claim.attributes or {}) == {
        "server.address": "redis.example",
        "server.port": 6380,
        "db.system.name": "redis",
        "db.operation.name": "EVALSHA",
        "db.stored_procedure.name": "claim",
        "noted": "so",
    }


async def test_a_request_that_fails_says_the_code_and_no_sentence_that_may_quote_a_user(traced: Traced) -> None:
    with working(WORK), pytest.raises(BackendUnavailable):
        await traced.ask(fails=True)
    failed, work = traced.spans
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "timeout"
    assert failed.status.status_code is StatusCode.ERROR
    assert not any("alice" in span.to_json() for span in traced.spans)
    assert work.status.is_ok, "the work caught it"


async def test_work_without_a_request_and_a_request_without_work_leave_no_span(traced: Traced) -> None:
    with working(WORK):
        pass
    await traced.ask()
    assert traced.spans == []


async def test_a_task_that_outlives_the_work_leaves_it_alone(traced: Traced) -> None:
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        await traced.ask()

    with working(WORK):
        await traced.ask()
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    go_on.set()
    await task
    assert len(traced.spans) == 2


async def test_the_span_of_a_match_has_the_id_that_all_others_have_as_their_parent(traced: Traced) -> None:
    link = Link("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)
    steps = [("Connecting", b.at(1)), ("Active", b.at(3))]
    tracing.match_over(MatchSpan(UID, b.at(0), b.at(9), {"roomkeeper.reason": "Left"}, steps, link=link))
    [span] = traced.spans
    assert numbers(span) == (trace_id(UID), root_span_id(UID), "")
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == timedelta(seconds=9) // timedelta(microseconds=1) * 1000
    assert [event.name for event in span.events] == ["Connecting", "Active"]
    assert f"{span.links[0].context.span_id:016x}" == link.span


async def test_off_a_request_is_sent_as_it_is() -> None:
    traced = Traced()
    assert not tracing.is_on()
    with working(WORK):
        await traced.ask()
        assert tracing.flag() == ""
    assert traced.spans == []
    traced.tracing._provider.shutdown()


def test_the_part_that_is_kept_is_that_part_though_a_uid_is_not_random_everywhere() -> None:
    uids = [
        str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4)) for number in range(4000)
    ]
    for part in (0.1, 0.5, 0.9):
        kept = sum(is_kept(uid, part) for uid in uids) / len(uids)
        assert abs(kept - part) < 0.03, part
    assert all(is_kept(uid, 1.0) for uid in uids)
    assert not any(is_kept(uid, 0.0) for uid in uids)
    assert all(is_kept(uid, 0.9) for uid in uids if is_kept(uid, 0.1)), "who is kept at less is kept at more"


async def test_a_trace_that_is_not_kept_has_no_spans_and_its_events_say_so(traced: Traced) -> None:
    other = OtelTracing(InMemorySpanExporter(), ratio=0.0)
    tracing.switch_on(other)
    with working(WORK):
        await traced.ask()
        assert tracing.flag() == "0"
    tracing.switch_on(traced.tracing)
    with working(WORK):
        assert tracing.flag() == "1"
    assert traced.spans == []
    other._provider.shutdown()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        (" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00 ", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_a_traceparent_that_makes_no_sense_is_no_link(text: str, expected: bool) -> None:
    assert (link_of(text) is not None) is expected


@pytest.mark.parametrize(
    ("backend", "operation", "address", "name", "about"),
    [
        ("LiveKit", "CreateRoom", "https://lk.example", "livekit.RoomService/CreateRoom", {"server.port": 443}),
        ("Kubernetes", "patch", "https://10.0.0.1:6443", "PATCH", {"http.request.method": "PATCH"}),
        ("Redis", "XREAD", "redis+sentinel://a:1,b:2/main/0", "XREAD", {"db.operation.name": "XREAD"}),
        ("Redis", "XREAD", "", "XREAD", {"db.system.name": "redis"}),
    ],
)
def test_spans_are_called_as_the_conventions_say(
    backend: str, operation: str, address: str, name: str, about: dict[str, Any]
) -> None:
    told, attributes = described(backend, operation, address)
    assert told == name
    assert about.items() <= attributes.items()


class Receiver(InMemorySpanExporter):
    """A receiver that can be away."""

    is_away = False

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.FAILURE if self.is_away else SpanExportResult.SUCCESS


def test_a_receiver_that_is_away_is_told_once_and_once_that_it_is_back() -> None:
    receiver = Receiver()
    exporter = Once(receiver, "http://collector:4318/v1/traces")
    with capture_logs() as lines:
        for receiver.is_away in (False, True, True, True, False, False):
            exporter.export([])
    assert [(line["log_level"], line["endpoint"]) for line in lines] == [
        ("warning", "http://collector:4318/v1/traces"),
        ("info", "http://collector:4318/v1/traces"),
    ]


def settings(**more: Any) -> Settings:
    return Settings(
        livekit_url="ws://l:1",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("s" * 32),
        redis_url="redis://r:1",
        **more,
    )


@pytest.mark.parametrize(
    ("own", "environment", "expected"),
    [
        ("", {}, False),
        ("http://c:4318", {}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ("http://c:4318", {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_an_endpoint_switches_traces_on(own: str, environment: dict[str, str], expected: bool) -> None:
    assert is_asked_for(settings(trace_endpoint=own), environment) is expected


@pytest.mark.parametrize(
    ("own", "environment", "expected"),
    [
        (1.0, {}, 1.0),
        (0.25, {"OTEL_TRACES_SAMPLER": "always_on"}, 0.25),
        (1.0, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5),
        (1.0, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nonsense"}, 1.0),
        (1.0, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}, 1.0),
        (1.0, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
    ],
)
def test_the_ratio_is_that_of_the_setting_or_of_the_variables(
    own: float, environment: dict[str, str], expected: float
) -> None:
    assert ratio(settings(trace_ratio=own), environment) == expected
