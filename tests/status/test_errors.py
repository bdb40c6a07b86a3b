"""An error of a backend in a status."""

from __future__ import annotations

import pytest

from controller.errors import (
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Conflict,
    Forbidden,
    Invalid,
    StateLost,
)
from controller.status.errors import last_error
from tests import values as b


@pytest.mark.parametrize(
    ("error", "severity", "recovery"),
    [
        (BackendUnavailable(Backend.REDIS, "claim", "gone"), "Medium", "Retry"),
        (BackendUnavailable(Backend.REDIS, "claim", "gone", retryable=False), "Medium", "Retry"),
        (Conflict(Backend.KUBERNETES, "patch", "moved on"), "Medium", "Retry"),
        (BackendRefused(Backend.REDIS, "settle", "no", retryable=True), "Medium", "Retry"),
        (BackendRefused(Backend.REDIS, "settle", "no"), "High", "Notify"),
        (Invalid(Backend.KUBERNETES, "create", "no"), "High", "Notify"),
        (Forbidden(Backend.LIVEKIT, "CreateRoom", "no", retryable=True), "High", "Escalate"),
        (StateLost(Backend.REDIS, "script", "lost"), "High", "Escalate"),
    ],
)
def test_an_error_has_a_severity_and_a_recovery(error: BackendError, severity: str, recovery: str) -> None:
    entry = last_error(error, b.at(1))
    assert (str(entry.severity), str(entry.recovery)) == (severity, recovery)


@pytest.mark.parametrize(
    ("backend", "type_"), [(Backend.KUBERNETES, "System"), (Backend.LIVEKIT, "LiveKit"), (Backend.REDIS, "Redis")]
)
def test_the_type_of_an_error_names_its_backend(backend: Backend, type_: str) -> None:
    entry = last_error(BackendUnavailable(backend, "call", "no answer"), b.at(1.2345678))
    assert (str(entry.type), entry.message) == (type_, f"{backend}: no answer")
    assert entry.at == b.at(1.234)
