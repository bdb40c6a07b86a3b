"""The text of /metrics, in the format that the reader asks for: OpenMetrics, which alone has exemplars, or Prometheus'.

Formats are chosen by RFC 9110: what `Accept` gives the highest quality, and of equals the first. A reader that asks for
nothing that we have gets Prometheus' text, as from other exporters. Neighbor: `telemetry.health` serves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_open_metrics: Final[Any] = openmetrics.generate_latest  # the library gives it no types
# Prometheus asks for 0.0.1 too, which is what OpenMetrics was before it was finished. Its readers read 1.0.0.
_OPEN_METRICS_VERSIONS: Final = frozenset({"", "0.0.1", "1.0.0"})
_TEXT_VERSIONS: Final = frozenset({"", "0.0.4", "1.0.0"})


@dataclass(frozen=True, slots=True)
class Exposition:
    """The body of an answer, and its header `Content-Type`."""

    body: bytes
    content_type: str


def exposition(accept: str, registry: CollectorRegistry = REGISTRY) -> Exposition:
    """All metrics, in the best format for the header `Accept`."""
    if wants_openmetrics(accept):
        return Exposition(_open_metrics(registry, version="1.0.0"), _OPEN_METRICS)
    return Exposition(generate_latest(registry), _TEXT)


def wants_openmetrics(accept: str) -> bool:
    """Whether the reader prefers OpenMetrics to Prometheus' text."""
    best_quality, best = 0.0, False
    for media_type, version, quality in _ranges(accept):
        if media_type == "application/openmetrics-text":
            is_open, has_it = True, version in _OPEN_METRICS_VERSIONS
        else:
            is_open, has_it = False, media_type in {"*/*", "text/*"} or _is_text(media_type, version)
        if has_it and quality > best_quality:
            best_quality, best = quality, is_open
    return best


def _is_text(media_type: str, version: str) -> bool:
    return media_type == "text/plain" and version in _TEXT_VERSIONS


def _ranges(accept: str) -> Iterator[tuple[str, str, float]]:
    """The media types of the header, each with its version and its quality. One that makes no sense is left out."""
    for one in accept.split(","):
        media_type, *pairs = (part.strip().lower() for part in one.split(";"))
        parameters = {name.strip(): value.strip(' "') for name, _, value in (pair.partition("=") for pair in pairs)}
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            continue
        if 0 <= quality <= 1:
            yield media_type, parameters.get("version", ""), quality
