"""Switches tracing on for one replica, where the settings or OpenTelemetry's variables ask for it.

Neighbor: `telemetry.otel` makes and sends the spans; it and its library are imported here, if they are needed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import structlog

from controller.errors import SettingsError
from controller.settings import Settings, variable
from controller.telemetry import tracing

log = structlog.get_logger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_INSTALL: Final = "install roomkeeper[tracing]; the image has it"


@contextlib.asynccontextmanager
async def traced(settings: Settings, instance: str, environment: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Make spans while the block runs, if that is asked for. `instance` is the name of the replica.

    Raises SettingsError if the settings ask for it, and the library is not installed.
    """
    if not is_asked_for(settings, environment):
        yield
        return
    try:
        otel: Any = importlib.import_module("controller.telemetry.otel")
    except ModuleNotFoundError as error:
        if settings.trace_endpoint:
            raise SettingsError(
                f"roomkeeper operator: {variable('trace_endpoint')} is set, and {error.name} is missing; {_INSTALL}"
            ) from error
        log.warning(f"there are no traces: {error.name} is missing; {_INSTALL}")
        yield
        return
    made = otel.OtelTracing(
        otel.over_http(settings.trace_endpoint), ratio=ratio(settings, environment), instance=instance
    )
    tracing.switch_on(made)
    try:
        yield
    finally:
        tracing.switch_on(None)
        await made.end()


def is_asked_for(settings: Settings, environment: Mapping[str, str]) -> bool:
    """Whether there is an endpoint, and OpenTelemetry is not switched off."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if settings.trace_endpoint:
        return True
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp").strip()
    return exporter in {"", "otlp"} and any(environment.get(name) for name in _ENDPOINTS)


def ratio(settings: Settings, environment: Mapping[str, str]) -> float:
    """The part of the traces that is kept: as the setting says, else as OpenTelemetry's variables say, else all.

    Every trace begins here, so a sampler that follows its parent is the one for traces without a parent.
    """
    if settings.trace_ratio < 1:
        return settings.trace_ratio
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().removeprefix("parentbased_")
    if name == "always_off":
        return 0.0
    if name != "traceidratio":
        return 1.0
    try:
        return min(1.0, max(0.0, float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1"))))
    except ValueError:
        return 1.0
