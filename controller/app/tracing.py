"""Switches tracing on for one replica, where the settings or OpenTelemetry's variables ask for it.

Neighbors: `telemetry.otel` makes the spans, `telemetry.otlp` sends them; they and their library are imported here, if
they are needed.
"""

from __future__ import annotations

import contextlib
import importlib
import math
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
    made = _made(settings, instance, environment) if is_asked_for(settings, environment) else None
    if made is None:
        yield
        return
    tracing.switch_on(made)
    try:
        yield
    finally:
        tracing.switch_on(None)
        await made.end()


def _made(settings: Settings, instance: str, environment: Mapping[str, str]) -> Any:
    """What makes spans; None if the library cannot be used. The log says why, and calls go on without traces.

    The library reads many variables by itself, some when it is imported, and raises for what it does not understand.
    """
    try:
        otel: Any = importlib.import_module("controller.telemetry.otel")
        exporter = importlib.import_module("controller.telemetry.otlp").over_http(settings.trace_endpoint)
        return otel.OtelTracing(exporter, ratio=ratio(settings, environment), instance=instance)
    except ModuleNotFoundError as error:
        if settings.trace_endpoint:
            raise SettingsError(
                f"roomkeeper operator: {variable('trace_endpoint')} is set, and {error.name} is missing; {_INSTALL}"
            ) from error
        log.warning(f"there are no traces: {error.name} is missing; {_INSTALL}")
    except Exception as error:  # noqa: BLE001 - whatever is wrong with tracing, calls need an operator that starts
        log.warning(
            "there are no traces: OpenTelemetry does not start; check the variables OTEL_… that are set",
            why=f"{type(error).__name__}: {error}",
        )
    return None


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
        part = float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    except ValueError:
        return 1.0
    return 1.0 if math.isnan(part) else min(1.0, max(0.0, part))
