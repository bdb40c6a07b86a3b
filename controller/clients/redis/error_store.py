"""The records of errors in Redis: what replicas add, and what people read.

A pool has its own records; what concerns no pool is stored beside the epoch of the lease. One request writes within one
hash tag, so this also works in a Redis Cluster. Neighbors: `announce.error_records` collects and writes,
`rules.error_statistics` makes sense of what is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from controller.clients.reading import moment_ms, rows
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import ErrorKeys, Keys, error_keys_of_no_pool
from controller.clients.redis.replies.pool import RECORDED
from controller.errors import Backend
from controller.facts.error_record import HOUR_MS, ErrorKey, ErrorRecord, HourCounts

TTL_SECONDS: Final = 86_400
MOST_RECORDS: Final = 500
"""So many records stay per pool. The counts per hour include the others."""

_HOURS: Final = TTL_SECONDS * 1000 // HOUR_MS + 1
_COUNTERS: Final = {"e": "errors", "b": "begun", "r": "recovered", "p": "pools"}


@dataclass(frozen=True, slots=True)
class ErrorBatch:
    """What a replica adds in one request: the counts of one hour, and records. `number` is never used twice."""

    writer: str
    number: int
    counts: HourCounts
    records: Sequence[ErrorRecord]


@dataclass(frozen=True, slots=True)
class ErrorStore:
    """The records below one prefix: of a pool, or of no pool (`namespace` is empty)."""

    redis: Redis
    keys: ErrorKeys

    async def add(self, batch: ErrorBatch, *, now_ms: int) -> None:
        """Add a batch. The same batch again changes nothing. Raises BackendError."""
        args: list[str | int] = [
            now_ms,
            TTL_SECONDS * 1000,
            MOST_RECORDS,
            batch.writer,
            batch.number,
            orjson.dumps(_flat(batch.counts)).decode(),
        ]
        for record in batch.records:
            args += [_id(record.key), record.count, record.first_ms, record.last_ms, _text(record)]
        names = [self.keys.errors(), self.keys.errors_seen(), self.keys.errors_hour(batch.counts.hour)]
        RECORDED.parse(await self.redis.run(lua.ERRORS, names, args))

    async def records(self) -> list[ErrorRecord]:
        """All records, in no order. Raises BackendError."""
        found = await self.redis.hash(self.keys.errors())
        return rows(Backend.REDIS, "error record", found.values(), self._record)

    async def hours(self, now_ms: int) -> list[HourCounts]:
        """The counts of the last 24 hours and of this one, the oldest first. Raises BackendError."""
        this = now_ms // HOUR_MS
        numbers = range(this - _HOURS + 1, this + 1)
        found = await asyncio.gather(*(self.redis.hash(self.keys.errors_hour(number)) for number in numbers))
        return [_hour(number, fields) for number, fields in zip(numbers, found, strict=True)]

    def _record(self, text: str) -> ErrorRecord:
        count, first, last, told = text.split(" ", 3)
        context = {str(name): str(value) for name, value in orjson.loads(told).items()}
        key = ErrorKey(context.pop("code"), context.pop("step"), context.pop("object"))
        return ErrorRecord(key, self.keys.namespace, int(count), moment_ms(first), moment_ms(last), context)


@dataclass(frozen=True, slots=True)
class FoundErrors:
    """What was read of these namespaces; the empty one stands for errors that concern no pool."""

    namespaces: tuple[str, ...]
    records: tuple[ErrorRecord, ...]
    hours: tuple[HourCounts, ...]


async def read_errors(redis: Redis, cluster_id: str, namespace: str, now_ms: int) -> FoundErrors:
    """The records and counts of one namespace, or (empty) of all that have errors. Raises BackendError."""
    if namespace:
        stores = [ErrorStore(redis, Keys(cluster_id, namespace).error_keys)]
    else:
        own = ErrorStore(redis, error_keys_of_no_pool(cluster_id))
        pools = sorted({name for hour in await own.hours(now_ms) for name in hour.pools})
        # A key of another client can hold any name.
        keys = rows(Backend.REDIS, "pool", pools, lambda name: Keys(cluster_id, name).error_keys)
        stores = [own, *(ErrorStore(redis, of_pool) for of_pool in keys)]
    records: list[ErrorRecord] = []
    hours: list[HourCounts] = []
    for store in stores:
        records += await store.records()
        hours += await store.hours(now_ms)
    return FoundErrors(tuple(store.keys.namespace for store in stores), tuple(records), tuple(hours))


def _id(key: ErrorKey) -> str:
    """A short id: what an object or a step is called has no limit of ours."""
    return hashlib.sha256("\0".join((key.code, key.step, key.object)).encode()).hexdigest()[:20]


def _text(record: ErrorRecord) -> str:
    key = record.key
    told = {"code": key.code, "step": key.step, "object": key.object, **record.context}
    return orjson.dumps(told).decode()


def _flat(counts: HourCounts) -> dict[str, int]:
    return {
        f"{letter}:{code}": number
        for letter, name in _COUNTERS.items()
        for code, number in getattr(counts, name).items()
    }


def _hour(number: int, fields: Mapping[str, str]) -> HourCounts:
    counted: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for letter, code, count in rows(Backend.REDIS, "error count", _counters(fields), _count):
        counted[_COUNTERS[letter]][code] = count
    return HourCounts(number, **counted)


def _counters(fields: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The fields that are counters; the others say which request a replica wrote last."""
    return ((name, text) for name, text in fields.items() if name.partition(":")[0] in _COUNTERS)


def _count(field: tuple[str, str]) -> tuple[str, str, int]:
    letter, _, code = field[0].partition(":")
    return letter, code, int(field[1])
