"""The one place that every request to Kubernetes, LiveKit and Redis passes: breaker, deadline, error, metric and log.

A client hands over how to make one attempt and how to translate what its library raises. `Requests` awaits the attempt,
limits it, measures it, and raises the translated error. A retry is another request: the clients decide on retries, and
each attempt is measured by itself. While the breaker of the client is open, an attempt is not made: the failure that
opened it is raised at once. Neighbors: `clients.kubernetes`, `clients.livekit` and `clients.redis.client` send through
this module, `clients.breaker` says whether, `telemetry.metrics` counts, `errors` has the types that leave it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from controller.clients.availability import Availability
from controller.clients.breaker import RULES, Breaker, BreakerRule, BreakerState, Ticket
from controller.clients.outage_reasons import OutageReason, reason_of, refuses_all
from controller.errors import Backend, BackendError, BackendUnavailable, Code, Forbidden, LibraryError
from controller.telemetry import tracing
from controller.telemetry.meters import RequestMeter
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
    `was_silent` gets the length of a silence in seconds, at the first answer after it. `server` names one of several
    servers of a backend, for the log and for metrics. `answers` are the codes of failures that concern one request: the
    backend answered, so others may succeed, and the breaker stays closed. `is_clock_wrong` is asked when the backend
    begins to refuse our credentials: whether its clock is the cause. It sends no request through this object.
    """

    def __init__(
        self,
        backend: Backend,
        raised: tuple[type[Exception], ...],
        *,
        limits: Limits | None = None,
        transport_keeps_deadline: bool = False,
        was_silent: Callable[[float], None] | None = None,
        server: str = "",
        answers: frozenset[str] = frozenset(),
        rule: BreakerRule | None = None,
        is_clock_wrong: Callable[[], Awaitable[bool]] | None = None,
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
        self._answers = answers
        self._is_clock_wrong = is_clock_wrong
        self.breaker = Breaker(rule or RULES[backend])
        self.availability = Availability(backend, server, self.breaker)
        self._untold: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        """The client is no longer used: metrics forget the state of its breaker."""
        self.availability.end()

    @property
    def silent_seconds(self) -> float | None:
        """For how long no request has been answered; None if the last one was, or if there was none."""
        return None if self._silent_since is None else time.monotonic() - self._silent_since

    def send(
        self,
        operation: str,
        attempt: Callable[[], Awaitable[T]],
        translate: Callable[[Exception], BackendError],
        *,
        waits_seconds: float = 0.0,
        is_essential: bool = False,
    ) -> Coroutine[Any, Any, T]:
        """Await one attempt; return its answer or raise what `translate` makes of its exception.

        While the breaker is open, no attempt is made, and the error is that of the outage: `was_sent` is False. A
        request that `is_essential` is sent all the same.

        `operation` becomes a metric label: a verb, a method, a command or the name of a script, never an object's name.
        `waits_seconds` is how long the backend was asked to wait before it answers. A request that its caller cancels
        is not counted: nothing is known about its end.
        """
        # No coroutine of its own: that would cost a tenth of a read.
        sending = self._send(operation, attempt, translate, waits_seconds, is_essential=is_essential)
        return self._traced(operation, sending) if tracing.is_on() else sending

    async def _traced(self, operation: str, sending: Coroutine[Any, Any, T]) -> T:
        with tracing.requesting(self._backend, operation, self.availability.address):
            try:
                return await sending
            except BackendError as error:
                tracing.request_failed(error.code or type(error).__name__)
                raise

    async def _send(
        self,
        operation: str,
        attempt: Callable[[], Awaitable[T]],
        translate: Callable[[Exception], BackendError],
        waits_seconds: float,
        *,
        is_essential: bool,
    ) -> T:
        started = time.monotonic()
        breaker, ticket = self.breaker, Ticket.ORDINARY
        if breaker.state is not BreakerState.CLOSED and not is_essential:
            ticket = self._enter(operation, started, may_be_probe=not waits_seconds)
        try:
            if self._timeout_seconds is None:
                answer = await attempt()
            else:
                async with asyncio.timeout(self._timeout_seconds + waits_seconds):
                    answer = await attempt()
        except self._raised as error:
            failure = translate(error)
            await self._judge(operation, failure, error, ticket, started)
            raise failure from LibraryError.of(error)
        except BaseException:
            if ticket is Ticket.PROBE:
                breaker.abandoned(ticket, time.monotonic())
            raise
        answered = time.monotonic()
        seconds = answered - started
        breaker.answered(answered)
        if self._silent_since is not None:
            self._end_silence(answered)
        if not self.availability.is_up or self._untold:
            self._is_up()
        (self._meters.get(operation) or self._meter(operation)).answered(seconds)
        if seconds > self._slow_seconds + waits_seconds:
            self._log(log.warning, "a request was slow", operation, "slow", seconds)
        return answer

    def given_up(self, failure: BackendUnavailable, seconds: float) -> None:
        """The caller has cancelled a request after so many seconds, since it was not answered."""
        now = time.monotonic()
        self._not_answered(failure.operation, failure, failure, Ticket.ORDINARY, now - seconds, now)

    def _enter(self, operation: str, now: float, *, may_be_probe: bool) -> Ticket:
        """Let a request through as the probe. Raises the failure of the outage for any other one.

        A request that waits at the backend is no probe: all others would wait for its answer.
        """
        if may_be_probe and (ticket := self.breaker.enter(now)) is not None:
            return ticket
        assert self.breaker.failure is not None, "an open breaker has a failure"
        raise self.breaker.failure.not_sent(operation)

    def _end_silence(self, answered: float) -> None:
        since, self._silent_since = self._silent_since, None
        if self._was_silent is not None and since is not None:
            self._was_silent(answered - since)

    async def _judge(
        self, operation: str, failure: BackendError, error: Exception, ticket: Ticket, started: float
    ) -> None:
        """What a failure says about the backend, and about the request."""
        now = time.monotonic()
        self._meter(operation).failed(now - started, failure.code or Code.OTHER)
        if isinstance(failure, BackendUnavailable):
            self._silent_since = started if self._silent_since is None else self._silent_since
        if isinstance(failure, BackendUnavailable) and failure.code not in self._answers:
            self._not_answered(operation, failure, error, ticket, started, now)
            return
        self.breaker.answered(now)
        if refuses_all(self._backend, failure):
            failure.is_told = True
            if not self.availability.is_refusing:
                self.availability.refused(failure, await self._why_refused(error, failure), since=started)
            return
        self._is_up()
        # What a refusal means is the caller's decision: NotFound and Conflict are everyday answers, as is a Forbidden
        # of Kubernetes (a quota, a namespace that ends). In Redis it is a right that an administrator has to give.
        lacks_right = isinstance(failure, Forbidden) and self._backend is Backend.REDIS
        say = log.warning if lacks_right or isinstance(failure, BackendUnavailable) else log.debug
        self._log(say, "a request failed", operation, failure.code or Code.OTHER, now - started)

    def _not_answered(
        self,
        operation: str,
        failure: BackendUnavailable,
        error: Exception,
        ticket: Ticket,
        started: float,
        now: float,
    ) -> None:
        """Whether this is an outage shows later: a failure that is none is told when the backend answers others."""
        failure.is_told = True
        self.breaker.failed(failure, ticket, sent_at=started, now=now)
        self.availability.failed(failure, lambda: reason_of(error, failure), since=started)
        if self.availability.is_up is False:
            self._untold.clear()
        else:
            self._untold[operation, failure.code or Code.OTHER] = now - started

    def _is_up(self) -> None:
        """The backend answers, and accepts what we send: tell which requests it has not answered meanwhile."""
        self.availability.answered()
        untold, self._untold = self._untold, {}
        for (operation, code), seconds in untold.items():
            self._log(log.warning, "a request failed", operation, code, seconds)

    async def _why_refused(self, error: Exception, failure: BackendError) -> OutageReason:
        """A wrong clock is refused as a wrong key is."""
        if self._is_clock_wrong is not None and await self._is_clock_wrong():
            return OutageReason.CLOCK
        return reason_of(error, failure)

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
