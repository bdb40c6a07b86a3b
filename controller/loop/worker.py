"""The loop: takes keys out of the queue, runs one reconcile per key, and interprets its result in one place.

Retry, deadline, metric and log of every reconcile are decided here and nowhere else; a reconciler only returns a
`Result` or raises. Neighbors: `loop.recovery` (what an error means), `loop.work_queue` (what waits), `loop.deadlines`
(when), `loop.backoff` (how long after a failure), `loop.waiting` (for a backend that does not answer), `loop.reconcile`
(what is run).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from controller.clock import Clock
from controller.errors import BackendError, BackendRefused, BackendUnavailable, Conflict, LeadershipLost, StateLost
from controller.loop.backoff import Backoff
from controller.loop.deadlines import Deadlines
from controller.loop.key import Key
from controller.loop.lanes import Lane
from controller.loop.pace import TICK_SECONDS, BulkPace
from controller.loop.recovery import Recovery
from controller.loop.waiting import BreakerOf, Waiting
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.plan.step import earliest
from controller.rules.failures import Verdict
from controller.telemetry import metrics
from controller.telemetry.sparse import Sparse

log = structlog.get_logger(__name__)

_CONFLICT_PAUSE_SECONDS = 0.02
# In an outage the breaker opens before a key has failed so often, and then the key waits.
_OWN_FAILURES = 8
# A key that waits for a backend is looked at so often all the same, in memory: time may decide what needs no backend.
_LOOK_SECONDS = (10.0, 15.0)


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile leaves behind.

    `deadline` is when the key is to be reconciled again if nothing else happens. `error` is what stopped it; the key
    then comes back after its backoff, or when the backend answers again.
    """

    deadline: datetime | None = None
    error: BackendError | None = None


Reconcile = Callable[[Key], Awaitable[Result]]


def _no_breaker(_key: Key, _backend: str) -> None:
    """For a worker whose backends have no breakers."""


class Worker:
    """Runs reconciles, at most `concurrency` at once and never two of one key.

    `breaker_of` finds the breaker of a backend that a key has to wait for. `bulk_pace` says how many bulk keys may be
    in hand while turns of the event loop are long. `has_started`: keys were taken.
    """

    def __init__(
        self,
        reconcile: Reconcile,
        queue: WorkQueue,
        clock: Clock,
        recovery: Recovery,
        *,
        breaker_of: BreakerOf = _no_breaker,
        concurrency: int = 64,
        bulk_pace: BulkPace | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._reconcile = reconcile
        self._queue = queue
        self._clock = clock
        self._recovery = recovery
        self._concurrency = concurrency
        self._timeout_seconds = timeout_seconds
        self._deadlines = Deadlines()
        self._backoff = Backoff()
        self._waiting = Waiting(breaker_of, lambda key, lane: queue.enqueue(key, Wake.ANSWERED, lane))
        self._sparse = Sparse()
        self._bulk_pace = bulk_pace
        self._tick: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: datetime | None = None
        self.has_started = False

    def start(self) -> None:
        """Open the queue and begin to take keys: the lease is ours and the caches are synced."""
        self.has_started = True
        if self._bulk_pace is not None:
            self._queue.limit_bulk(self._bulk_pace.limit)
        self._queue.open()
        self.pump()
        self._arm()

    async def stop(self, grace_seconds: float) -> None:
        """Take no new key, let those in hand finish for `grace_seconds`, then cancel the rest."""
        self._queue.close()
        self._deadlines.clear()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._timer_at = None
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def clock_was_set(self, by: timedelta) -> None:
        """The clock went on or back by so much: deadlines go with it, and the timer waits for the first of them."""
        self._deadlines.clock_was_set(by)
        if self._queue.is_open:
            self._arm()

    def failures(self, key: Key) -> int:
        """Failures of `key` in a row."""
        return self._backoff.failures(key)

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in hand."""
        return self._queue.is_empty and not self._queue.in_hand

    def pump(self) -> None:
        """Take keys as long as there are some, and a hand is free. It follows the queue."""
        while len(self._tasks) < self._concurrency and (key := self._queue.take()) is not None:
            task = asyncio.get_running_loop().create_task(self._work(key), name=str(key))
            self._tasks.add(task)
            task.add_done_callback(self._finished)
        metrics.queue_depth.set(len(self._queue))
        metrics.keys_in_hand.set(self._queue.in_hand)
        # Not after `stop`: the queue may belong to the worker of the next term when the timer fires.
        wants_tick = self._tick is None and self._queue.is_open and self._queue.bulk_in_hand
        if self._bulk_pace is not None and wants_tick:
            loop = asyncio.get_running_loop()
            due = loop.time() + TICK_SECONDS
            self._tick = loop.call_at(due, self._look_at_turn, self._bulk_pace, due)

    def _look_at_turn(self, pace: BulkPace, due: float) -> None:
        self._tick = None
        self._queue.limit_bulk(pace.turned(asyncio.get_running_loop().time() - due))
        self.pump()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.pump()

    async def _work(self, key: Key) -> None:
        started = time.monotonic()
        outcome = "cancelled"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                result = await self._reconcile(key)
                outcome = await self._interpret(key, result)
        except LeadershipLost as error:
            outcome = "not-leader"
            self._failed(key, error)
            # The lease may only be short: if it is renewed, nothing else wakes this key. `stop` forgets the deadline.
            self._retry(key)
            log.info("reconcile given up", key=str(key), why=str(error))
        except TimeoutError as error:
            outcome = "timeout"
            self._failed(key, error)
            self._retry(key)
            log.exception("reconcile took too long", key=str(key), timeout_seconds=self._timeout_seconds)
        except Exception as error:  # one poisoned object must never stop the others
            outcome = "bug"
            self._failed(key, error)
            self._retry(key)
            log.exception("reconcile failed unexpectedly", key=str(key), failures=self._backoff.failures(key))
        finally:
            metrics.reconciles.labels(key.kind.kind, outcome).inc()
            metrics.reconcile_seconds.labels(key.kind.kind).observe(time.monotonic() - started)
            self._queue.done(key)

    async def _interpret(self, key: Key, result: Result) -> str:
        if result.error is None:
            await self._recovery.succeeded(key)
            self._backoff.succeeded(key)
            self._waiting.remove(key)
            self._set_deadline(key, result.deadline)
            return "ok"
        verdict = self._failed(key, result.error)
        if isinstance(result.error, Conflict) and self._backoff.failures(key) < verdict.failure.attempts:
            # Another writer was faster. The cache has been refreshed, so try again almost at once.
            self._backoff.failed(key)
            self._set_deadline(key, self._clock.now() + timedelta(seconds=_CONFLICT_PAUSE_SECONDS))
            return "conflict"
        await self._recovery.carry_out(key, verdict)
        if self._waits(key, result, verdict):
            return "waits"
        pause_seconds = self._retry(
            key, is_waited_for=verdict.quick_attempts > 0, at_least_seconds=result.error.retry_after_seconds
        )
        self._tell_of_retry(key, result.error, verdict, pause_seconds)
        return "retry"

    def _waits(self, key: Key, result: Result, verdict: Verdict) -> bool:
        """Let the key wait for its backend, if that does not answer any request. It has no backoff then."""
        lane = self._queue.lane_of(key) if verdict.quick_attempts else Lane.BULK
        if result.error is None or not self._queue.is_open or not self._waiting.add(key, result.error, lane):
            return False
        look_seconds = random.uniform(*_LOOK_SECONDS)  # noqa: S311 (spreads load; no secret depends on it)
        now = self._clock.now()
        # A deadline that is over would wake the key again and again, while its backend is still away.
        ahead = result.deadline if result.deadline is not None and result.deadline > now else None
        self._set_deadline(key, earliest(ahead, now + timedelta(seconds=look_seconds)))
        log.debug("reconcile waits until its backend answers", key=str(key), code=verdict.failure.code)
        return True

    def _tell_of_retry(self, key: Key, error: BackendError, verdict: Verdict, pause_seconds: float) -> None:
        """A backend that does not answer, or lost its data, concerns many keys: one line a minute is a warning.

        The client tells about an outage itself. A key that fails so often while its backend answers others is none.
        """
        event = "reconcile will be repeated"
        fields = {
            "key": str(key),
            "code": verdict.failure.code,
            "error": str(error),
            "failures": self._backoff.failures(key),
            "retry_in_seconds": round(pause_seconds, 3),
        }
        is_told = error.is_told and (isinstance(error, BackendRefused) or self._backoff.failures(key) < _OWN_FAILURES)
        if is_told or not verdict.is_news:
            log.debug(event, **fields)
        elif not isinstance(error, BackendUnavailable | StateLost):
            log.warning(event, **fields)
        elif not self._sparse.say(log.warning, event, (error.backend, error.code), **fields):
            log.debug(event, **fields)

    def _failed(self, key: Key, error: Exception) -> Verdict:
        return self._recovery.failed(key, error, attempt=self._backoff.failures(key) + 1)

    def _retry(self, key: Key, *, is_waited_for: bool = True, at_least_seconds: float = 0.0) -> float:
        self._waiting.remove(key)
        pause_seconds = max(self._backoff.failed(key, is_waited_for=is_waited_for), at_least_seconds)
        self._set_deadline(key, self._clock.now() + timedelta(seconds=pause_seconds))
        return pause_seconds

    def _set_deadline(self, key: Key, at: datetime | None) -> None:
        if not self._queue.is_open:
            return
        self._deadlines.set(key, at)
        metrics.deadlines.set(len(self._deadlines))
        if at is not None and (self._timer_at is None or at < self._timer_at):
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = self._deadlines.next_at()
        if self._timer_at is not None:
            wait_seconds = max(0.0, (self._timer_at - self._clock.now()).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        for key in self._deadlines.due(self._clock.now()):
            self._queue.enqueue(key, Wake.AWAY if self._waiting.holds(key) else Wake.DEADLINE)
        self._arm()
