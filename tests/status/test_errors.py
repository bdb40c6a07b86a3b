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
    NotFound,
    StateLost,
)
from controller.rules.failures import MAKES_ROOM
from controller.status.errors import last_error
from tests import values as b


@pytest.mark.parametrize(
    ("error", "type_", "severity", "recovery"),
    [
        (BackendUnavailable(Backend.REDIS, "claim", "gone"), "Network", "Critical", "Escalate"),
        (BackendUnavailable(Backend.REDIS, "claim", "late", code="timeout"), "Timeout", "High", "Retry"),
        (Conflict(Backend.KUBERNETES, "patch", "moved on"), "System", "Info", "Retry"),
        (BackendRefused(Backend.REDIS, "settle", "no", code="holds-more"), "Matching", "High", "Reset"),
        (Invalid(Backend.KUBERNETES, "create", "no"), "Validation", "High", "Notify"),
        (Forbidden(Backend.LIVEKIT, "CreateRoom", "no", retryable=True), "LiveKit", "Critical", "Escalate"),
        (StateLost(Backend.REDIS, "script", "lost"), "Redis", "Critical", "Reset"),
    ],
)
def test_the_status_shows_the_row_of_the_error(error: BackendError, type_: str, severity: str, recovery: str) -> None:
    entry = last_error(error, b.at(1))
    assert entry is not None
    assert (str(entry.type), str(entry.severity), str(entry.recovery)) == (type_, severity, recovery)


def test_the_status_shows_the_sentence_of_the_error_and_its_time() -> None:
    entry = last_error(BackendUnavailable(Backend.REDIS, "call", "no answer"), b.at(1.2345678))
    assert entry is not None
    assert (entry.message, entry.at) == ("Redis: no answer", b.at(1.234))


def test_the_status_shows_what_an_error_means_in_its_step() -> None:
    error = BackendUnavailable(Backend.LIVEKIT, "CreateRoom", "no answer", code="timeout")
    error.step = MAKES_ROOM
    entry = last_error(error, b.at(1))
    assert entry is not None
    assert (entry.type, entry.recovery) == ("Room", "Fallback")


def test_the_status_leaves_out_an_error_that_is_only_counted() -> None:
    message = "unable to create new content in namespace calls because it is being terminated"
    assert last_error(Forbidden(Backend.KUBERNETES, "create", message, code="403"), b.at(1)) is None
    assert last_error(NotFound(Backend.KUBERNETES, "patch", "gone", code="404"), b.at(1)) is None
