"""Sends spans over OTLP/HTTP. Imported only when tracing is on: the extra `tracing`.

A receiver that is away costs spans and nothing else: the SDK sends them from a thread, a bounded number waits, and the
log says so once. Neighbors: `telemetry.otel` makes the spans, `app.tracing` connects the two.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = structlog.get_logger(__name__)

_PATH: Final = "/v1/traces"


class Once(SpanExporter):
    """An exporter that says once that spans cannot be sent, and once that they can again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._is_away = False
        self._why = _LastWords()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans. A failure loses them."""
        why = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - the library would tell it only to its own log, with every batch
            result, why = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            log.warning(
                "traces cannot be sent and are lost; calls go on without them",
                endpoint=self._endpoint,
                why=why or self._why.last,
            )
        elif self._is_away and not is_away:
            log.info("traces can be sent again", endpoint=self._endpoint)
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits here."""
        return self._exporter.force_flush(timeout_millis)


class _LastWords(logging.Handler):
    """Keeps what the library would log with every batch."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        library = logging.getLogger("opentelemetry")
        library.handlers[:] = [self]
        library.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.last = record.getMessage()


def over_http(endpoint: str) -> Once:
    """An exporter to a receiver of OTLP/HTTP. Without `endpoint` it is that of OpenTelemetry's variables."""
    if not endpoint:
        named = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        shown = next((os.environ[name] for name in named if os.environ.get(name)), "")
        return Once(OTLPSpanExporter(), _without_user(shown))
    whole = endpoint if urlsplit(endpoint).path.rstrip("/") else endpoint.rstrip("/") + _PATH
    return Once(OTLPSpanExporter(endpoint=whole), _without_user(whole))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url
