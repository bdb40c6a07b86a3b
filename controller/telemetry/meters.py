"""Helpers that record what is measured often: the series of a metric are looked up once, not at every request.

Neighbors: `telemetry.metrics` has the metrics, `clients.request` measures with these.
"""

from __future__ import annotations

import contextlib

from controller.telemetry.metrics import (
    ACCEPTED,
    api_writes,
    backend_errors,
    backend_seconds,
    backend_up,
    breaker_opened,
    breaker_state,
    connections_aborted,
    webhooks,
    webhooks_missed,
)

_LIVEKIT = "LiveKit"
_WRITES = frozenset({"create", "replace", "patch", "delete"})


class RequestMeter:
    """The measurements of one operation of one backend: its series are looked up once, not at every request.

    `operation` and `code` come from sets that the client bounds: verbs, methods, commands and scripts; HTTP statuses,
    known error words, and the words of `clients.request.Code`.
    """

    __slots__ = ("_backend", "_observe", "_operation", "_write")

    def __init__(self, backend: str, operation: str) -> None:
        self._backend = backend
        self._operation = operation
        self._observe = backend_seconds.labels(backend, operation).observe
        is_write = backend == "Kubernetes" and operation in _WRITES
        self._write = api_writes.labels(operation) if is_write else None

    def answered(self, seconds: float) -> None:
        """Count a request that was answered as asked for."""
        self._observe(seconds)
        if self._write is not None:
            self._write.inc()

    def failed(self, seconds: float, code: str) -> None:
        """Count a request that was refused or not answered."""
        self.answered(seconds)
        backend_errors.labels(self._backend, self._operation, code).inc()


class BreakerMeter:
    """The state of one backend, or of one of its servers: of its breaker, and whether it can be used."""

    def __init__(self, backend: str, server: str) -> None:
        self._labels = (backend, server)
        self._state = breaker_state.labels(backend, server)
        self._opened = breaker_opened.labels(backend, server)
        self._state.set(0)
        self._is_closed = True
        if backend == _LIVEKIT:
            # What first appears with 1 has not increased for Prometheus.
            for counter in (webhooks_missed, connections_aborted):
                counter.labels(server)
            webhooks.labels(ACCEPTED, server)

    def became(self, state: int) -> None:
        """The breaker is in this state now. An outage begins when it opens, and ends when it closes."""
        self._state.set(state)
        if state and self._is_closed:
            self._opened.inc()
        self._is_closed = not state

    def up(self, *, is_up: bool) -> None:
        """Whether the backend can be used. There is no such series before that is known."""
        backend_up.labels(*self._labels).set(is_up)

    def end(self) -> None:
        """There is no such server any longer. What was counted stays."""
        for gauge in (breaker_state, backend_up):
            with contextlib.suppress(KeyError):  # another client of the same name has ended before
                gauge.remove(*self._labels)
