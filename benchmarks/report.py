"""The table for people and build/bench.json for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import Figures, Goal, Subject, goals

_STYLES = {Subject.FLOOR: "dim", Subject.KOPF: "", Subject.ROOMKEEPER: "bold"}


def write_json(figures: Sequence[Figures], path: Path) -> None:
    """A list with one object per line of the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([one.to_json() for one in figures], indent=2) + "\n", encoding="utf-8")


def table(figures: Sequence[Figures], rounds: int) -> Table:
    """The figures, those with equally many in flight beside each other."""
    what = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    result = Table(title=f"From created to Ready, {what}", title_justify="left")
    result.add_column("in flight", justify="right")
    result.add_column("subject", no_wrap=True)
    for heading in ("Matches/s", "p50 ms", "p99 ms", "CPU ms/Match", "API writes/Match"):
        result.add_column(heading, justify="right", no_wrap=True)
    ordered = sorted(figures, key=lambda one: (one.in_flight, list(Subject).index(one.subject)))
    for position, one in enumerate(ordered):
        following = ordered[position + 1] if position + 1 < len(ordered) else None
        result.add_row(
            str(one.in_flight),
            one.subject.value,
            f"{one.rate_per_s:.1f}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.cpu_ms_per_match:.2f}",
            f"{one.api_writes_per_match:.2f}",
            style=_STYLES[one.subject],
            end_section=following is None or following.in_flight != one.in_flight,
        )
    return result


def goal_line(goal: Goal) -> Text:
    """`pass  rate at 32 against kopf: 1.83 (goal: at least 1.50)`."""
    limit = f"goal: at {'most' if goal.at_most else 'least'} {goal.limit:.2f}"
    if goal.ratio is None:
        return Text(f"  –     {goal.sentence}: not measured ({limit})", style="dim")
    word, style = ("pass", "green") if goal.is_met else ("miss", "red")
    return Text.assemble(("  " + word, style), f"  {goal.sentence}: {goal.ratio:.2f} ({limit})")


def show(figures: Sequence[Figures], rounds: int, console: Console) -> None:
    """The table, and how it stands with the goals."""
    console.print(table(figures, rounds))
    for goal in goals(figures):
        console.print(goal_line(goal))
