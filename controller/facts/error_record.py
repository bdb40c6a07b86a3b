"""What is known about errors: one record for all errors of one code, step and object, and counts per hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class ErrorKey:
    """What makes two errors the same: the code, the step, and the object (the name of a Match or a Room, or empty)."""

    code: str
    step: str
    object: str


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """All errors of one key in a namespace (empty: in none). `context` tells about the last one: message, user, match,
    room, session, userAgent, key, attempt, reconcile, as far as they are known."""

    key: ErrorKey
    namespace: str
    count: int
    first_ms: int
    last_ms: int
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HourCounts:
    """The counts of one hour (since 1970), by code: errors, recoveries that were begun, and those that succeeded.

    `pools` has the errors by namespace. It is only in the counts that belong to no pool: they name all pools with
    errors.
    """

    hour: int
    errors: Mapping[str, int] = field(default_factory=dict)
    begun: Mapping[str, int] = field(default_factory=dict)
    recovered: Mapping[str, int] = field(default_factory=dict)
    pools: Mapping[str, int] = field(default_factory=dict)
