"""The statistics of errors as tables for people, and as one document for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from controller.cli.grid import grid
from controller.facts.error_record import HOUR_MS, ErrorRecord
from controller.facts.time import from_milliseconds
from controller.rules.error_statistics import RecoveryCount, Statistics, row_of

SHOWN_RECORDS: Final = 20

_BAR: Final = 30


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What was asked for, and the answer. `namespaces` are those that were read; the empty one stands for none."""

    since: datetime
    until: datetime
    namespaces: tuple[str, ...]
    statistics: Statistics


def text(report: ErrorReport) -> str:
    """The report for people."""
    found = report.statistics
    since = f"{report.since:%Y-%m-%d %H:%M} UTC"
    shown = sum(record.count for record in found.top)
    if not found.total and not shown:
        return f"No errors since {since}."
    parts = [
        f"{found.total} errors since the full hour before {since}",
        grid(("TYPE", "ERRORS"), ((str(word), str(count)) for word, count in found.by_type.items())),
        grid(("SEVERITY", "ERRORS"), ((str(word), str(count)) for word, count in found.by_severity.items())),
    ]
    if found.recoveries:
        rates = (
            (str(way), str(count.begun), str(count.recovered), _rate(count)) for way, count in found.recoveries.items()
        )
        parts.append(grid(("RECOVERY", "BEGUN", "SUCCEEDED", "RATE"), rates))
    parts.append("\n".join(_trend(found)))
    parts.append(
        grid(("COUNT", "LAST", "ERROR", "STEP", "NAMESPACE", "OBJECT", "MESSAGE"), map(_row, _first(found.top)))
    )
    parts.append("docs/errors.md says what each error means and what to do.")
    return "\n\n".join(parts)


def document(report: ErrorReport) -> dict[str, Any]:
    """The report for programs, in one stable shape."""
    found = report.statistics
    return {
        "apiVersion": "cli.roomkeeper.dev/v1alpha1",
        "kind": "ErrorReport",
        "since": _moment(report.since),
        "until": _moment(report.until),
        "namespaces": list(report.namespaces),
        "total": found.total,
        "byType": {str(word): count for word, count in found.by_type.items()},
        "bySeverity": {str(word): count for word, count in found.by_severity.items()},
        "recoveries": {
            str(way): {"begun": count.begun, "succeeded": count.recovered, "rate": count.rate}
            for way, count in found.recoveries.items()
        },
        "trend": [
            {"hour": _moment(from_milliseconds(hour * HOUR_MS)), "errors": count} for hour, count in found.trend.items()
        ],
        "errors": [_entry(record) for record in found.top],
    }


def _entry(record: ErrorRecord) -> dict[str, Any]:
    row = row_of(record.key.code)
    return {
        "code": record.key.code,
        "type": str(row.type),
        "severity": str(row.severity),
        "recovery": str(row.recovery),
        "step": record.key.step,
        "object": record.key.object,
        "namespace": record.namespace,
        "count": record.count,
        "firstSeen": _moment(from_milliseconds(record.first_ms)),
        "lastSeen": _moment(from_milliseconds(record.last_ms)),
        "meaning": row.meaning,
        "whatToDo": row.operator,
        "context": dict(record.context),
    }


def _row(record: ErrorRecord) -> tuple[str, ...]:
    last = f"{from_milliseconds(record.last_ms):%H:%M:%S}"
    key = record.key
    return str(record.count), last, key.code, key.step, record.namespace, key.object, record.context.get("message", "")


def _first(records: Sequence[ErrorRecord]) -> Sequence[ErrorRecord]:
    return records[:SHOWN_RECORDS]


def _rate(count: RecoveryCount) -> str:
    return f"{count.rate:.0%}" if count.rate is not None else ""


def _trend(found: Statistics) -> Iterator[str]:
    most = max(found.trend.values(), default=0)
    yield "HOUR (UTC)  ERRORS"
    for hour, count in found.trend.items():
        bar = "█" * round(_BAR * count / most) if most else ""
        yield f"{from_milliseconds(hour * HOUR_MS):%d. %H:%M}   {count:>6}  {bar}".rstrip()


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
