"""Collects the errors of this replica, and adds them to the records in Redis every few seconds.

A caller hands an error over and goes on: nothing waits for Redis here. The memory is bounded whatever happens. Equal
errors are one record with a count; a record for which there is no room is dropped and counted, and the counts per hour
still include it. While Redis does not answer, everything stays here until it does; a pool that fails holds up no other,
and a batch that Redis refuses is dropped. Neighbors: `loop.recovery` and the background loops report,
`clients.redis.error_store` writes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from controller.api.failure_codes import Failure
from controller.api.failures import Recovery
from controller.api.failures_table import FAILURES
from controller.clients.redis.client import Redis
from controller.clients.redis.error_store import ErrorBatch, ErrorStore
from controller.clients.redis.keys import ErrorKeys, Keys, error_keys_of_no_pool
from controller.clock import Clock
from controller.errors import BackendError, BackendRefused, Forbidden, clip
from controller.facts.error_record import HOUR_MS, ErrorKey, ErrorRecord, HourCounts
from controller.facts.time import milliseconds
from controller.redaction import redact
from controller.rules.failures import classify
from controller.telemetry import metrics
from controller.telemetry.pulse import LoopName, Pulse

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 3.0
MOST_BUFFERED: Final = 1000
"""So many records are kept until they are written, of all pools together."""

_MOST_HOURS: Final = 2000
_HOURS_KEPT: Final = 24
_LAST_FLUSH_SECONDS: Final = 1.0
_LONGEST_WORD: Final = 256
_MOST_FAILURES: Final = 3

# What first appears with 1 has not increased for Prometheus, so the first error would be lost to the alert.
for _row in FAILURES.values():
    metrics.errors.labels(_row.type, _row.severity, _row.recovery)
for _recovery in Recovery:
    metrics.recoveries.labels(_recovery)


@dataclass(slots=True)
class _Hour:
    """The counts of one pool in one hour that are not written yet."""

    errors: Counter[str] = field(default_factory=Counter)
    begun: Counter[str] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    pools: Counter[str] = field(default_factory=Counter)

    def counts(self, hour: int) -> HourCounts:
        return HourCounts(hour, dict(self.errors), dict(self.begun), dict(self.recovered), dict(self.pools))


class ErrorRecords:
    """The errors of one replica. `writer` is its identity.

    `_hours` and `_records` are what is not written yet. `_unanswered` has the batch of each pool whose answer did not
    come: the same one is sent again, since it may have been written.
    """

    def __init__(self, redis: Redis, cluster_id: str, clock: Clock, writer: str) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._clock = clock
        self._writer = writer
        # Beyond any number that a process with the same identity can have used.
        self._number = milliseconds(clock.now())
        self._hours: dict[tuple[str, int], _Hour] = {}
        self._records: dict[tuple[str, ErrorKey], ErrorRecord] = {}
        self._unanswered: dict[str, ErrorBatch] = {}
        self._is_silent = False

    @property
    def buffered(self) -> int:
        """How many records wait to be written."""
        return len(self._records) + sum(len(batch.records) for batch in self._unanswered.values())

    def failed(
        self,
        failure: Failure,
        *,
        namespace: str = "",
        step: str = "",
        object_: str = "",
        context: Mapping[str, str] | None = None,
        begins: bool = False,
    ) -> None:
        """An error happened in a namespace (empty: in none). `begins` tells whether a recovery begins with it."""
        now_ms = milliseconds(self._clock.now())
        metrics.errors.labels(failure.type, failure.severity, failure.recovery).inc()
        hour = self._hour(namespace, now_ms)
        if hour is not None:
            hour.errors[failure.code] += 1
            hour.begun[failure.code] += begins
        if namespace and (all_pools := self._hour("", now_ms)) is not None:
            all_pools.pools[namespace] += 1
        key = ErrorKey(failure.code, _word(step), _word(object_))
        told = {name: _word(value) for name, value in (context or {}).items() if value}
        known = self._records.get((namespace, key))
        if known is None and self.buffered >= MOST_BUFFERED:
            metrics.error_records_dropped.inc()
            return
        first_ms, count = (known.first_ms, known.count) if known is not None else (now_ms, 0)
        self._records[namespace, key] = ErrorRecord(key, namespace, count + 1, first_ms, now_ms, told)

    def loop_failed(self, loop: LoopName, error: Exception, named: Mapping[str, str]) -> None:
        """An item of a background loop failed; `named` may have its namespace.

        A loop asks again and again while a backend is away. A request that was not sent says nothing new.
        """
        if isinstance(error, BackendError) and not error.was_sent:
            return
        told = {name: text for name, text in named.items() if name != "namespace"}
        self.failed(
            classify(error).failure,
            namespace=named.get("namespace", ""),
            step=f"loop {loop}",
            object_=" ".join(told.values()),
            context={"message": str(getattr(error, "sentence", "")) or f"{type(error).__name__}: {error}"},
        )

    def recovered(self, failure: Failure, namespace: str = "") -> None:
        """The step that had failed so succeeded."""
        metrics.recoveries.labels(failure.recovery).inc()
        hour = self._hour(namespace, milliseconds(self._clock.now()))
        if hour is not None:
            hour.recovered[failure.code] += 1

    async def run(self, pulse: Pulse) -> None:
        """Write every few seconds until cancelled; then once more."""
        try:
            while True:
                pulse.beat()
                await asyncio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_FLUSH_SECONDS):
                    await self.flush()

    async def flush(self) -> None:
        """Write everything. What cannot be written stays for the next time."""
        now_ms = milliseconds(self._clock.now())
        self._forget_old(now_ms)
        failures: list[BackendError] = []
        # Those that failed before come last: without an answer, each of them costs the timeouts of a request.
        namespaces = {namespace for namespace, _ in self._hours} | self._unanswered.keys()
        for namespace in sorted(namespaces, key=lambda name: (name in self._unanswered, name)):
            try:
                await self._flush_pool(namespace, now_ms)
            except BackendError as error:
                failures.append(error)
                if len(failures) == _MOST_FAILURES:
                    break
        # These errors are not recorded: the metric of requests has them.
        if failures and not self._is_silent:
            tell = log.debug if failures[0].is_told else log.info
            tell("errors cannot be recorded at the moment", why=failures[0].sentence, waiting=self.buffered)
        self._is_silent = bool(failures)

    async def _flush_pool(self, namespace: str, now_ms: int) -> None:
        await self._send(namespace, now_ms)
        for hour in sorted(hour for name, hour in self._hours if name == namespace):
            self._unanswered[namespace] = self._batch(namespace, hour)
            await self._send(namespace, now_ms)

    async def _send(self, namespace: str, now_ms: int) -> None:
        batch = self._unanswered.get(namespace)
        if batch is None:
            return
        try:
            await ErrorStore(self._redis, self._keys(namespace)).add(batch, now_ms=now_ms)
        except Forbidden:
            raise  # a password or a right that is put right lets the same batch in
        except BackendRefused as error:
            metrics.error_records_dropped.inc(sum(record.count for record in batch.records))
            log.warning("errors of a pool are not recorded", namespace=namespace, why=error.sentence)
        del self._unanswered[namespace]

    def _batch(self, namespace: str, hour: int) -> ErrorBatch:
        """Take what is to be written of one pool and one hour."""
        self._number += 1
        counts = self._hours.pop((namespace, hour)).counts(hour)
        of_pool = [key for key in self._records if key[0] == namespace]
        return ErrorBatch(self._writer, self._number, counts, [self._records.pop(key) for key in of_pool])

    def _hour(self, namespace: str, now_ms: int) -> _Hour | None:
        """The counts of this hour; None if there is no room for those of another pool."""
        name = namespace, now_ms // HOUR_MS
        known = self._hours.get(name)
        if known is None and len(self._hours) < _MOST_HOURS:
            known = self._hours[name] = _Hour()
        return known

    def _forget_old(self, now_ms: int) -> None:
        """Drop what would have expired by now, after a day without Redis."""
        oldest = now_ms // HOUR_MS - _HOURS_KEPT
        self._hours = {name: hour for name, hour in self._hours.items() if name[1] >= oldest}
        day = now_ms - _HOURS_KEPT * HOUR_MS
        self._records = {key: record for key, record in self._records.items() if record.last_ms >= day}
        self._unanswered = {name: batch for name, batch in self._unanswered.items() if batch.counts.hour >= oldest}

    def _keys(self, namespace: str) -> ErrorKeys:
        return Keys(self._cluster_id, namespace).error_keys if namespace else error_keys_of_no_pool(self._cluster_id)


def _word(text: str) -> str:
    """What the records keep of a text: no secret, and nothing long."""
    return clip(redact(text), _LONGEST_WORD)
