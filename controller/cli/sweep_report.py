"""What a sweep by hand found and did, as tables for people and as one document for programs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controller.cli.grid import grid
from controller.facts.leftover import Cleaned, Leftover, Outcome, Remedy, SweepKind
from controller.facts.time import from_milliseconds

SHOWN: Final = 100
"""So many leftovers are named in a table; the document has all."""

REMEDIES: Final[Mapping[Remedy, str]] = {
    Remedy.CLOSE: "close the LiveKit room",
    Remedy.SETTLE: "settle the match, which frees its users",
    Remedy.FREE: "let the user wait again, or be idle",
    Remedy.RELEASE: "put the user back into the queue",
    Remedy.RETIRE: "forget the beat; a user who waits leaves the queue",
    Remedy.EXPIRE: "give the key a TTL",
    Remedy.DELETE: "delete the key",
}
"""What each remedy does, in words."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """A sweep by hand. `notes` are those of the operator's own sweeps, as they are in Redis."""

    is_dry_run: bool
    is_forced: bool
    keys: int
    leftovers: Sequence[Leftover]
    outcomes: Sequence[Outcome]
    problems: Sequence[str]
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether everything could be looked at, and cleaned if that was asked for."""
        return not self.problems and not any(outcome.problem for outcome in self.outcomes)


def found_text(leftovers: Sequence[Leftover], keys: int) -> str:
    """What was found and why, before anything is done."""
    if not leftovers:
        return f"Nothing is left over ({keys} keys looked at)."
    kinds = Counter(leftover.kind for leftover in leftovers)
    parts = [
        f"{len(leftovers)} leftovers ({keys} keys looked at)",
        grid(("TYPE", "LEFTOVERS"), ((str(kind), str(count)) for kind, count in kinds.items())),
        grid(("TYPE", "NAMESPACE", "ID", "WHY", "WHAT TO DO"), map(_row, leftovers[:SHOWN])),
    ]
    if len(leftovers) > SHOWN:
        parts.append(f"… and {len(leftovers) - SHOWN} more; --output json has all.")
    return "\n\n".join(parts)


def done_text(report: SweepReport) -> str:
    """What was done, and what the operator's own sweeps did."""
    cleaned = Counter(outcome.cleaned for outcome in report.outcomes if not outcome.problem)
    parts = []
    if report.outcomes:
        kept = f", {cleaned[Cleaned.KEPT]} kept because they are in use" if cleaned[Cleaned.KEPT] else ""
        parts.append(f"{cleaned[Cleaned.DONE]} cleaned{kept}.")
    elif report.leftovers and report.is_dry_run:
        parts.append("Nothing was changed.")
    failed = [outcome for outcome in report.outcomes if outcome.problem]
    if failed:
        rows = ((str(one.leftover.kind), one.leftover.namespace, one.leftover.id, one.problem) for one in failed)
        parts.append(f"{len(failed)} could not be cleaned:\n" + grid(("TYPE", "NAMESPACE", "ID", "PROBLEM"), rows))
    if report.problems:
        parts.append("\n".join(["What could not be looked at:", *report.problems]))
    parts.append("\n".join(_statistics(report.notes)))
    return "\n\n".join(parts)


def document(report: SweepReport) -> dict[str, Any]:
    """The report for programs, in one stable shape."""
    outcomes = {id(outcome.leftover): outcome for outcome in report.outcomes}
    return {
        "apiVersion": "cli.roomkeeper.dev/v1alpha1",
        "kind": "SweepReport",
        "dryRun": report.is_dry_run,
        "forced": report.is_forced,
        "keys": report.keys,
        "leftovers": [_entry(leftover, outcomes.get(id(leftover))) for leftover in report.leftovers],
        "problems": list(report.problems),
        "operator": {
            "sweeps": {sweep: _sweep(report.notes, sweep) for sweep in ("light", "deep")},
            "types": {str(kind): _counts(report.notes, kind) for kind in SweepKind},
        },
    }


def _row(leftover: Leftover) -> tuple[str, ...]:
    return str(leftover.kind), leftover.namespace, leftover.id, leftover.why, REMEDIES[leftover.remedy]


def _entry(leftover: Leftover, outcome: Outcome | None) -> dict[str, Any]:
    entry = {
        "type": str(leftover.kind),
        "namespace": leftover.namespace,
        "id": leftover.id,
        "why": leftover.why,
        "remedy": str(leftover.remedy),
    }
    if outcome is not None:
        entry["outcome"] = "failed" if outcome.problem else str(outcome.cleaned)
        if outcome.problem:
            entry["problem"] = outcome.problem
    return entry


def _statistics(notes: Mapping[str, str]) -> Iterator[str]:
    """The operator's own sweeps."""
    rows = [(name, *map(str, _sweep(notes, name).values())) for name in ("light", "deep")]
    yield grid(("SWEEP", "RUNS", "LAST ENDED", "LAST SUCCEEDED", "TOOK"), rows)
    yield ""
    counts = ((str(kind), *map(str, _counts(notes, kind).values())) for kind in SweepKind)
    yield grid(("TYPE", "FOUND", "CLEANED", "ERRORS"), counts)


def _sweep(notes: Mapping[str, str], name: str) -> dict[str, Any]:
    return {
        "runs": _number(notes, f"runs:{name}"),
        "lastEnded": _moment(notes, f"ended:{name}"),
        "lastSucceeded": _moment(notes, f"succeeded:{name}"),
        "tookSeconds": _number(notes, f"took:{name}") / 1000,
    }


def _counts(notes: Mapping[str, str], kind: SweepKind) -> dict[str, int]:
    return {what: _number(notes, f"{what}:{kind}") for what in ("found", "cleaned", "errors")}


def _number(notes: Mapping[str, str], name: str) -> int:
    text = notes.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 15 else 0


def _moment(notes: Mapping[str, str], name: str) -> str:
    at_ms = _number(notes, name)
    return f"{from_milliseconds(at_ms):%Y-%m-%dT%H:%M:%SZ}" if at_ms else ""
