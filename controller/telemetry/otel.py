"""Spans by the SDK of OpenTelemetry. Imported only when tracing is on: the extra `tracing`.

The variables of OpenTelemetry (`OTEL_…`) are respected: the exporter and the batches read them by themselves, and what
the settings say wins. Names and attributes follow the semantic conventions of OpenTelemetry. Neighbors:
`telemetry.tracing` has the interface, `telemetry.otlp` sends the spans, `app.tracing` switches both on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from controller.telemetry.trace_ids import trace_id
from controller.telemetry.tracing import Attributes, Link, MatchSpan, Work, root_span_id
from controller.version import VERSION

log = structlog.get_logger(__name__)

# The last 56 bits decide, as OpenTelemetry says of ids that are random there. Those of a UID are; others of its bits
# are not, so the SDK's own sampler would keep all traces or none.
_RANDOM_BITS: Final = 56
_END_SECONDS: Final = 2.0
_METHODS: Final[Mapping[str, str]] = {
    "get": "GET",
    "list": "GET",
    "read": "GET",
    "create": "POST",
    "replace": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_KEPT: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)
_FALLBACK_PORTS: Final = {"https": 443, "wss": 443, "http": 80, "ws": 80, "redis": 6379, "rediss": 6379}


def is_kept(uid: str, ratio: float) -> bool:
    """Whether the trace of this Match is one of the part that is kept. Every replica and every restart agree."""
    randomness = int(trace_id(uid), 16) & ((1 << _RANDOM_BITS) - 1)
    return randomness >= (1 - ratio) * (1 << _RANDOM_BITS)


class _Ids(RandomIdGenerator):
    """The ids of the SDK, but for the span of a whole Match."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return self.next[0] if self.next is not None else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.next[1] if self.next is not None else super().generate_span_id()


class OtelTracing:
    """Makes spans and hands them to `exporter`. `ratio` is the part of the traces that is kept."""

    def __init__(self, exporter: SpanExporter, *, ratio: float = 1.0, instance: str = "") -> None:
        self._ratio = ratio
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=_resource(instance), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("roomkeeper", VERSION)

    def begin(self, work: Work) -> _Doing:
        """Begin a piece of work. Its span begins with its first request."""
        return _Doing(self._tracer, work, is_sampled=is_kept(work.uid, self._ratio))

    def match_over(self, match: MatchSpan) -> None:
        """Send the span of a whole Match."""
        if not is_kept(match.uid, self._ratio):
            return
        self._ids.next = int(trace_id(match.uid), 16), int(root_span_id(match.uid), 16)
        try:
            span = self._tracer.start_span(
                "match",
                context=Context(),
                attributes=dict(match.attributes),
                links=_links(match.link),
                start_time=_nanoseconds(match.began_at),
            )
        finally:
            self._ids.next = None
        for name, at in match.steps:
            span.add_event(name, timestamp=_nanoseconds(at))
        if match.error:
            span.set_attribute("error.type", match.error)
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(match.ended_at))

    async def end(self) -> None:
        """Send what waits, for two seconds at most."""
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()

        def finish() -> None:
            try:
                self._provider.shutdown()
            except Exception as error:  # noqa: BLE001 - whatever the library raises must not hold up the stop
                log.warning("traces could not be ended; some may be lost", why=f"{type(error).__name__}: {error}")
            # The loop may be closed by now.
            if not loop.is_closed():
                loop.call_soon_threadsafe(is_over.set)

        # A daemon: the process does not wait for a receiver that hangs.
        threading.Thread(target=finish, name="end of tracing", daemon=True).start()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await is_over.wait()
        except TimeoutError:
            log.warning("the last traces could not be sent in time")


class _Doing:
    """A piece of work, whose span begins with its first request."""

    def __init__(self, tracer: trace.Tracer, work: Work, *, is_sampled: bool) -> None:
        self.is_sampled = is_sampled
        self._tracer = tracer
        self._work = work
        self._began = time.time_ns()
        self._context: Context | None = None
        self._span: trace.Span | None = None
        self._is_over = False

    def request(self, backend: str, operation: str, address: str) -> _Request | None:
        """Begin the span of a request."""
        if not self.is_sampled or self._is_over:
            return None
        if self._context is None:
            self._context = self._begin()
        name, attributes = described(backend, operation, address)
        span = self._tracer.start_span(
            name, context=self._context, kind=trace.SpanKind.CLIENT, attributes=dict(attributes)
        )
        return _Request(span, backend)

    def _begin(self) -> Context:
        work = self._work
        parent = trace.SpanContext(int(trace_id(work.uid), 16), int(root_span_id(work.uid), 16), True, _KEPT)
        self._span = self._tracer.start_span(
            work.name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(parent), Context()),
            kind=trace.SpanKind.SERVER if work.is_server else trace.SpanKind.INTERNAL,
            attributes=dict(work.attributes),
            links=_links(work.link),
            start_time=self._began,
        )
        return trace.set_span_in_context(self._span, Context())

    def end(self, error: str = "") -> None:
        """The work is over; its first end counts."""
        self._is_over = True
        if self._span is not None:
            if error:
                self._span.set_attribute("error.type", error)
                self._span.set_status(trace.StatusCode.ERROR)
            self._span.end()
            self._span = None


@dataclass(slots=True)
class _Request:
    """The span of a request; its first end counts."""

    span: trace.Span
    backend: str
    is_over: bool = False

    def note(self, attributes: Attributes, name: str = "") -> None:
        """Say more about it."""
        self.span.set_attributes(dict(attributes))
        if name:
            self.span.update_name(name)

    def end(self, error: str = "") -> None:
        """It is over."""
        if self.is_over:
            return
        self.is_over = True
        if error:
            self.span.set_attribute("error.type", error)
            if self.backend == "Redis":
                self.span.set_attribute("db.response.status_code", error)
            elif error.isdigit():
                self.span.set_attribute("http.response.status_code", int(error))
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end()


def described(backend: str, operation: str, address: str) -> tuple[str, Attributes]:
    """The name and the attributes of the span of a request, by the conventions for HTTP, RPC and databases."""
    url = urlsplit(address)
    about: dict[str, str | int] = {}
    if url.hostname:
        about["server.address"] = url.hostname
    try:
        port = url.port or _FALLBACK_PORTS.get(url.scheme)
    except ValueError:  # several hosts: sentinels, nodes of a cluster
        port = None
    if port:
        about["server.port"] = port
    if backend == "Redis":
        about["db.system.name"] = "redis"
        if operation.isupper():
            return operation, {**about, "db.operation.name": operation}
        return f"EVALSHA {operation}", {
            **about,
            "db.operation.name": "EVALSHA",
            "db.stored_procedure.name": operation,
        }
    if backend == "LiveKit":
        method = f"livekit.RoomService/{operation}"
        return method, {**about, "rpc.system.name": "twirp", "rpc.method": method}
    method = _METHODS.get(operation, operation)
    return method, {**about, "http.request.method": method}


def _resource(instance: str) -> Resource:
    """What is said of this process. What OpenTelemetry's variables say wins."""
    own = {SERVICE_NAME: "roomkeeper", SERVICE_VERSION: VERSION, "host.name": socket.gethostname()}
    if instance:
        own["service.instance.id"] = instance
    named = {pair.partition("=")[0].strip() for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    if os.environ.get("OTEL_SERVICE_NAME"):
        named.add(SERVICE_NAME)
    return Resource.create({name: value for name, value in own.items() if name not in named})


def _links(link: Link | None) -> list[trace.Link]:
    if link is None:
        return []
    context = trace.SpanContext(int(link.trace, 16), int(link.span, 16), True, trace.TraceFlags(link.flags))
    return [trace.Link(context)]


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
