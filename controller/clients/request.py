"""The one place that every request to Kubernetes, LiveKit and Redis passes: deadline, error, metric and log.

A client hands over how to make one attempt and how to translate what its library raises. `Requests` awaits the attempt,
limits it, measures it, and raises the translated error. A retry is another request: the clients decide on retries, and
each attempt is measured by itself. Neighbors: `clients.kubernetes`, `clients.livekit` and `clients.redis.client` send
through this module, `telemetry.metrics` counts, `errors` has the types that leave it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from controller.errors import Backend, BackendError, BackendUnavailable, Code, Forbidden, LibraryError
from controller.telemetry.metrics import RequestMeter
from controller.telemetry.sparse import Sparse

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """After how many seconds a request is given up, and from how many on it counts as slow in the log."""

    deadline_seconds: float
    slow_seconds: float


LIMITS: Final[Mapping[Backend, Limits]] = {
    Backend.KUBERNETES: Limits(deadline_seconds=10.0, slow_seconds=2.0),
    Backend.LIVEKIT: Limits(deadline_seconds=4.0, slow_seconds=1.0),
    Backend.REDIS: Limits(deadline_seconds=1.0, slow_seconds=0.25),
}


class Requests:
    """The requests of one client to one backend.

    `raised` are the exceptions of the client's library that `translate` understands; all others are bugs and pass
    unchanged. With `transport_keeps_deadline` the transport gives up by itself and raises TimeoutError or an exception
    of its own: Redis does so with one timer for all commands, because a timer per command costs as much as the command.
    `was_silent` gets the length of a silence in seconds, at the first answer after it.
    """

    def __init__(
        self,
        backend: Backend,
        raised: tuple[type[Exception], ...],
        *,
        limits: Limits | None = None,
        transport_keeps_deadline: bool = False,
        was_silent: Callable[[float], None] | None = None,
    ) -> None:
        self.limits = limits or LIMITS[backend]
        self._backend = backend
        self._raised = raised
        self._timeout_seconds = None if transport_keeps_deadline else self.limits.deadline_seconds
        self._slow_seconds = self.limits.slow_seconds
        self._meters: dict[str, RequestMeter] = {}
        self._sparse = Sparse()
        self._was_silent = was_silent
        self._silent_since: float | None = None

    @property
    def silent_seconds(self) -> float | None:
        """For how long no request has been answered; None if the last one was, or if there was none."""
        return None if self._silent_since is None else time.monotonic() - self._silent_since

    async def send(
        self,
        operation: str,
        attempt: Callable[[], Awaitable[T]],
        translate: Callable[[Exception], BackendError],
        *,
        waits_seconds: float = 0.0,
    ) -> T:
        """Await one attempt; return its answer or raise what `translate` makes of its exception.

        `operation` becomes a metric label: a verb, a method, a command or the name of a script, never an object's name.
        `waits_seconds` is how long the backend was asked to wait before it answers. A request that its caller cancels
        is not counted: nothing is known about its end.
        """
        started = time.monotonic()
        try:
            if self._timeout_seconds is None:
                answer = await attempt()
            else:
                async with asyncio.timeout(self._timeout_seconds + waits_seconds):
                    answer = await attempt()
        except self._raised as error:
            failure = translate(error)
            if self._silent_since is None and isinstance(failure, BackendUnavailable):
                self._silent_since = started
            self._failed(operation, failure, time.monotonic() - started)
            raise failure from LibraryError.of(error)
        answered = time.monotonic()
        seconds = answered - started
        if self._silent_since is not None:
            self._end_silence(answered)
        (self._meters.get(operation) or self._meter(operation)).answered(seconds)
        if seconds > self._slow_seconds + waits_seconds:
            self._log(log.warning, "a request was slow", operation, "slow", seconds)
        return answer

    def _end_silence(self, answered: float) -> None:
        since, self._silent_since = self._silent_since, None
        if self._was_silent is not None and since is not None:
            self._was_silent(answered - since)

    def _failed(self, operation: str, failure: BackendError, seconds: float) -> None:
        code = failure.code or Code.OTHER
        self._meter(operation).failed(seconds, code)
        # What a refusal means is the caller's decision: NotFound and Conflict are everyday answers, as is a Forbidden
        # of Kubernetes (a quota, a namespace that ends). In Redis it is a right that an administrator has to give.
        lacks_right = isinstance(failure, Forbidden) and self._backend is Backend.REDIS
        say = log.warning if lacks_right or isinstance(failure, BackendUnavailable) else log.debug
        self._log(say, "a request failed", operation, code, seconds)

    def _meter(self, operation: str) -> RequestMeter:
        meter = self._meters.get(operation)
        if meter is None:
            meter = self._meters[operation] = RequestMeter(self._backend, operation)
        return meter

    def _log(self, say: Callable[..., object], event: str, operation: str, code: str, seconds: float) -> None:
        """Write one line per operation and code and minute.

        Operation and code are all that a line names. Messages stay out of it: they are written for conditions.
        """
        fields = {
            "backend": str(self._backend),
            "operation": operation,
            "code": str(code),
            "seconds": round(seconds, 3),
        }
        self._sparse.say(say, event, (operation, code), **fields)
