"""Statistics of errors: by type and severity, the most frequent ones, what became of recoveries, the trend. Pure.

The records and counts come from Redis (`clients.redis.error_store`); `cli.errors` prints the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controller.api.failure_codes import Failure, FailureCode
from controller.api.failures import ErrorType, Recovery, Severity
from controller.api.failures_table import FAILURES
from controller.facts.error_record import HOUR_MS, ErrorRecord, HourCounts

_KNOWN: Final = frozenset(FailureCode)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which errors: those seen since a moment, of these types and severities (None: of all)."""

    since_ms: int
    type: ErrorType | None = None
    severity: Severity | None = None

    def has(self, code: str) -> bool:
        """Whether the error with this code is of the wanted type and severity."""
        row = row_of(code)
        return self.type in (None, row.type) and self.severity in (None, row.severity)


@dataclass(frozen=True, slots=True)
class RecoveryCount:
    """How often a recovery was begun, and how often the step succeeded after it."""

    begun: int
    recovered: int

    @property
    def rate(self) -> float | None:
        """The part that succeeded, from 0 to 1; None if none was begun."""
        return min(1.0, self.recovered / self.begun) if self.begun else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """The result. `trend` has the number of errors of each hour (since 1970), also of those without any."""

    total: int
    by_type: Mapping[ErrorType, int]
    by_severity: Mapping[Severity, int]
    recoveries: Mapping[Recovery, RecoveryCount]
    trend: Mapping[int, int]
    top: tuple[ErrorRecord, ...]


def row_of(code: str) -> Failure:
    """The row of a code; that of Unknown for a code of another version."""
    return FAILURES[FailureCode(code) if code in _KNOWN else FailureCode.UNKNOWN]


def statistics(records: Iterable[ErrorRecord], hours: Iterable[HourCounts], wanted: Wanted, now_ms: int) -> Statistics:
    """Count what is wanted. Counts exist per hour, so they begin at the full hour in which `since_ms` lies."""
    first, last = wanted.since_ms // HOUR_MS, now_ms // HOUR_MS
    by_code: Counter[str] = Counter()
    begun: Counter[Recovery] = Counter()
    recovered: Counter[Recovery] = Counter()
    trend = dict.fromkeys(range(first, last + 1), 0)
    for hour in hours:
        if hour.hour not in trend:
            continue
        errors = {code: count for code, count in hour.errors.items() if wanted.has(code)}
        by_code.update(errors)
        trend[hour.hour] += sum(errors.values())
        for counted, found in ((begun, hour.begun), (recovered, hour.recovered)):
            for code, count in found.items():
                if wanted.has(code):
                    counted[row_of(code).recovery] += count
    by_type: Counter[ErrorType] = Counter()
    by_severity: Counter[Severity] = Counter()
    for code, count in by_code.items():
        by_type[row_of(code).type] += count
        by_severity[row_of(code).severity] += count
    shown = (record for record in records if record.last_ms >= wanted.since_ms and wanted.has(record.key.code))
    return Statistics(
        total=by_code.total(),
        by_type={type_: by_type[type_] for type_ in ErrorType if by_type[type_]},
        by_severity={severity: by_severity[severity] for severity in Severity if by_severity[severity]},
        recoveries={way: RecoveryCount(begun[way], recovered[way]) for way in Recovery if begun[way]},
        trend=trend,
        top=tuple(sorted(shown, key=lambda record: (-record.count, -record.last_ms, record.key.code))),
    )
