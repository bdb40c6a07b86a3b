"""The tables for people and build/bench.json for machines, which `document` reads again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import CapacityFigures, Figures, LifeFigures, Measure, Subject, growth
from benchmarks.goals import Goal, goals
from benchmarks.live.figures import LiveFigures, table

_STYLES = {Subject.FLOOR: "dim", Subject.KOPF: "", Subject.ROOMKEEPER: "bold"}
_TEXTS = frozenset({"subject", "from … to", "live Matches", "live calls"})


@dataclass(frozen=True)
class Results:
    """The results of one run: created → Ready, the life of calls, what live Matches cost, and how that grows."""

    ready: tuple[Figures, ...] = ()
    life: tuple[LifeFigures, ...] = ()
    capacity: tuple[CapacityFigures, ...] = ()
    live: tuple[LiveFigures, ...] = ()


def write_json(results: Results, path: Path) -> None:
    """Write a list with one object per line of the tables.

    Those of a call's life have a `measure`, those of the capacity a number of `live` Matches, those of `live` a time of
    `bring_up_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        *(one.to_json() for one in results.ready),
        *(one.to_json() for one in results.life),
        *(one.to_json() for one in results.capacity),
        *(one.to_json() for one in results.live),
    ]
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Results:
    """Read the file that `write_json` has written."""
    ready, life, capacity, live = [], [], [], []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if "bring_up_s" in entry:
            live.append(LiveFigures(**entry))
            continue
        if "live" in entry:
            capacity.append(CapacityFigures(**entry))
            continue
        subject = Subject(entry.pop("subject"))
        if "measure" in entry:
            life.append(LifeFigures(subject, Measure(entry.pop("measure")), **entry))
        else:
            ready.append(Figures(subject, **entry))
    return Results(tuple(ready), tuple(life), tuple(capacity), tuple(live))


@dataclass(frozen=True)
class Section:
    """One table: its title, columns and lines, and how each line is shown."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    subjects: tuple[Subject, ...]
    groups: tuple[int | None, ...]
    """Lines of one group are shown together."""


def sections(results: Results, rounds: int | None = None) -> tuple[Section, ...]:
    """Return the tables of the results."""
    told = "" if rounds is None else f", medians of {rounds} rounds ± 95 %" if rounds > 1 else ", one round"
    cycles = tuple(one for one in results.life if one.measure is Measure.CYCLE)
    latencies = tuple(one for one in results.life if one.measure is not Measure.CYCLE)
    found = (
        _rates(f"From created to Ready{told}", "Match", "Matches/s", results.ready),
        _latencies("The life of a call", latencies),
        _rates(f"Full cycles, from created to deleted{told}", "cycle", "cycles/s", cycles),
        _capacity("Live Matches, while nothing happens", results.capacity),
        _live("Live calls: what they cost, by their number", results.live),
    )
    return tuple(section for section in found if section.rows)


def _rates(title: str, unit: str, per_second: str, figures: Sequence[Figures | LifeFigures]) -> Section:
    headings = ("in flight", "subject", per_second, "p50 ms", "p99 ms", f"CPU ms/{unit}", f"API writes/{unit}")
    ordered = sorted(figures, key=lambda one: (one.in_flight or 0, list(Subject).index(one.subject)))
    rows = (
        (
            str(one.in_flight),
            one.subject.value,
            _measured(one, "rate_per_s", 1),
            _measured(one, "p50_ms", 1),
            _measured(one, "p99_ms", 1),
            _measured(one, "cpu_ms_per_match", 2),
            _measured(one, "api_writes_per_match", 2),
        )
        for one in ordered
    )
    subjects, groups = (tuple(getattr(one, name) for one in ordered) for name in ("subject", "in_flight"))
    return Section(title, headings, tuple(rows), subjects, groups)


def _latencies(title: str, figures: Sequence[LifeFigures]) -> Section:
    ordered = sorted(figures, key=lambda one: list(Measure).index(one.measure))
    rows = (
        (
            one.measure.sentence,
            "one at a time" if one.rate_per_s is None else f"{one.rate_per_s:.1f}/s",
            _measured(one, "p50_ms", 1),
            _measured(one, "p99_ms", 1),
            str(one.count),
        )
        for one in ordered
    )
    subjects = tuple(one.subject for one in ordered)
    headings = ("from … to", "load", "p50 ms", "p99 ms", "samples")
    return Section(title, headings, tuple(rows), subjects, tuple(None for _ in ordered))


def _capacity(title: str, figures: Sequence[CapacityFigures]) -> Section:
    rows = [
        (str(one.live), _number(one.memory_mib, 1), _number(one.cpu_ms_per_s, 1))
        for one in sorted(figures, key=lambda one: one.live)
    ]
    added = growth(figures)
    if added is not None:
        rows.append(("each further 1 000", f"+{added.memory_mib:.1f}", f"+{added.cpu_ms_per_s:.1f}"))
    headings = ("live Matches", "memory MiB", "CPU m (thousandths of a core)")
    return Section(title, headings, tuple(rows), (Subject.ROOMKEEPER,) * len(rows), (None,) * len(rows))


def _live(title: str, figures: Sequence[LiveFigures]) -> Section:
    headings, rows = table(figures) if figures else ((), ())
    return Section(title, headings, rows, (Subject.ROOMKEEPER,) * len(rows), (None,) * len(rows))


def goal_line(goal: Goal) -> Text:
    """`pass  rate at 32 against kopf: 1.83 (goal: at least 1.50)`."""
    sentence = f"  {goal.sentence}: {goal.told}"
    if goal.is_met is None:
        return Text(f"  –   {sentence}", style="dim")
    word, style = ("pass", "green") if goal.is_met else ("miss", "red")
    return Text.assemble(("  " + word, style), sentence)


def show(results: Results, rounds: int, console: Console) -> None:
    """Print the tables, and whether each goal is met."""
    for section in sections(results, rounds):
        table = Table(title=section.title, title_justify="left")
        for heading in section.headings:
            table.add_column(heading, justify="left" if heading in _TEXTS else "right", no_wrap=True)
        following = (*section.groups[1:], object())
        for cells, subject, group, after in zip(section.rows, section.subjects, section.groups, following, strict=True):
            table.add_row(*cells, style=_STYLES[subject], end_section=group != after)
        console.print(table)
    for goal in goals(results.ready, results.life, results.live):
        console.print(goal_line(goal))


def _measured(figures: Figures | LifeFigures, field: str, digits: int) -> str:
    """A number with its margin, if it has one: `7.69 ± 0.40`."""
    number, margin = _number(getattr(figures, field), digits), figures.margins.get(field)
    return number if margin is None or not number else f"{number} ± {margin:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
