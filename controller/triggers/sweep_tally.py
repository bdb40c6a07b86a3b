"""What the sweeps found and cleaned: counted in metrics, and in the notes that `roomkeeper sweep` shows.

Neighbors: `triggers.sweep_work` counts here; `clients.redis.sweeps` keeps the notes, which outlive the operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from controller.clients.redis.sweeps import Notes
from controller.facts.leftover import SweepKind
from controller.telemetry import metrics


class Sweep(StrEnum):
    """The two sweeps."""

    LIGHT = "light"
    DEEP = "deep"


class SweepTally:
    """The counts of one step of a sweep."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @property
    def errors(self) -> int:
        """How many leftovers could not be looked at or cleaned."""
        return sum(count for name, count in self._counts.items() if name.startswith("errors:"))

    def found(self, kind: SweepKind, count: int = 1) -> None:
        """So many leftovers were found."""
        self._add("found", kind, count)
        metrics.sweep_found.labels(kind).inc(count)

    def cleaned(self, kind: SweepKind, count: int = 1) -> None:
        """So many leftovers were cleaned."""
        self._add("cleaned", kind, count)
        metrics.sweep_cleaned.labels(kind).inc(count)

    def failed(self, kind: SweepKind, count: int = 1) -> None:
        """So many could not be looked at or cleaned."""
        self._add("errors", kind, count)
        metrics.sweep_errors.labels(kind).inc(count)

    def notes(self, before: Notes) -> Mapping[str, int]:
        """The notes that have changed, in addition to what they were."""
        return {name: before.number(name) + count for name, count in self._counts.items() if count}

    def _add(self, what: str, kind: SweepKind, count: int) -> None:
        self._counts[f"{what}:{kind}"] += count


def begun(now_ms: int) -> None:
    """A term begins: a sweep that never succeeds in it counts from here, unless an earlier success is remembered."""
    for sweep in Sweep:
        metrics.sweep_succeeded.labels(sweep).set(now_ms / 1000)


def remember(notes: Notes) -> None:
    """Let the metrics of a leader that is new begin with the last success of each sweep, and with all types at 0."""
    for sweep in Sweep:
        if at_ms := notes.number(f"succeeded:{sweep}"):
            metrics.sweep_succeeded.labels(sweep).set(at_ms / 1000)
    for kind in SweepKind:
        for counter in (metrics.sweep_found, metrics.sweep_cleaned, metrics.sweep_errors):
            counter.labels(kind)


def ended(sweep: Sweep, before: Notes, *, now_ms: int, took_ms: int, failed: bool) -> dict[str, str | int]:
    """The notes about the end of a sweep, which the metrics get too."""
    metrics.sweep_runs.labels(sweep, "failed" if failed else "ok").inc()
    metrics.sweep_seconds.labels(sweep).observe(took_ms / 1000)
    notes: dict[str, str | int] = {
        f"runs:{sweep}": before.number(f"runs:{sweep}") + 1,
        f"ended:{sweep}": now_ms,
        f"took:{sweep}": took_ms,
    }
    if not failed:
        metrics.sweep_succeeded.labels(sweep).set(now_ms / 1000)
        notes[f"succeeded:{sweep}"] = now_ms
    return notes
