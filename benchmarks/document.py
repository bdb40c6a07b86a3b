"""`python -m benchmarks.document build/bench.json`: write the figures of a run into docs/performance.md.

`--into docs/capacity.md` writes them there. It rewrites the text between two markers, and nothing else: `figures` for
what `make bench` measures by itself, `growth` for live calls, whose plot it draws as well. A run that did not measure
one of them leaves that as it is. Run it on the machine that was measured, because the line above the tables describes
the machine that it runs on.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.goals import goals
from benchmarks.live import paper
from benchmarks.live.figures import by_size
from benchmarks.live.plot import svg
from benchmarks.report import Results, read_json, sections
from sandbox.source import ROOT

_DOCUMENT = ROOT / "docs" / "performance.md"
_PLOT = "images/growth.svg"


class Place(StrEnum):
    """What the markers of a block begin with."""

    FIGURES = "figures"
    GROWTH = "growth"


class MarkersMissing(Exception):
    """The document has no place for the figures."""


def rewritten(text: str, block: str, place: Place = Place.FIGURES) -> str:
    """`text` with `block` between the markers of `place`. Raises MarkersMissing."""
    end = f"<!-- {place}: end -->"
    between = re.compile(rf"(<!-- {place}: (?!end).*?-->\n).*?({re.escape(end)})", re.DOTALL)
    if len(between.findall(text)) != 1:
        raise MarkersMissing(f"expected one block between <!-- {place}: … --> and {end}")
    return between.sub(lambda found: f"{found[1]}{block.strip()}\n{found[2]}", text)


def block(results: Results, machine: str, command: str) -> str:
    """Return the figures as Markdown."""
    parts = [f"`{command}` on {machine}."]
    for section in sections(results):
        parts.append(f"### {section.title}\n\n" + "\n".join(_table(section.headings, section.rows)))
    sizes = by_size(results.live)
    if len(sizes) > 1:
        parts.append(f"![Growth of each figure against the fewest calls]({_PLOT})")
    if sizes:
        headings, *rows = paper.table(sizes[-1])
        parts.append("### On paper: what many calls need\n\n" + "\n".join(_table(headings, rows)))
    lines = [
        f"| {goal.sentence} | {goal.told} | {_VERDICTS[goal.is_met]} |"
        for goal in goals(results.ready, results.life, results.live)
        if goal.is_met is not None
    ]
    if lines:
        parts.append("\n".join(("### Goals", "", "| goal | found | |", "|---|---|---|", *lines)))
    return "\n\n".join(parts)


def this_machine() -> str:
    """Describe this machine."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} virtual cores for everything (API server, etcd, LiveKit, Redis, the subject, the load and the "
        f"watchers), {gibibytes:.0f} GiB, {_this_python()}"
    )


def _this_python() -> str:
    """Name the interpreter. The system's own is named as such: distributions optimize theirs with a profile."""
    version = f"Python {platform.python_version()}"
    if sys.base_prefix != "/usr":
        return version
    system = platform.freedesktop_os_release()
    return f"{version} of {system.get('NAME', 'this system')} {system.get('VERSION_ID', '')}".strip()


_VERDICTS = {True: "met", False: "missed", None: ""}


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _line(headings)
    yield "|---" * len(headings) + "|"
    for cells in rows:
        yield _line(cells)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(
    figures: Annotated[Path, typer.Argument(help="what `make bench` wrote", exists=True, dir_okay=False)],
    into: Annotated[Path, typer.Option(help="the document", exists=True, dir_okay=False)] = _DOCUMENT,
    command: Annotated[str, typer.Option(help="how the figures were made")] = "make bench",
) -> None:
    """Write the figures of a run into docs/performance.md."""
    results, text = read_json(figures), into.read_text(encoding="utf-8")
    live = Results(live=results.live)
    try:
        if (others := replace(results, live=())) != Results():
            text = rewritten(text, block(others, this_machine(), command), Place.FIGURES)
        if results.live:
            text = rewritten(text, block(live, this_machine(), command), Place.GROWTH)
    except MarkersMissing as error:
        print(f"benchmarks: {into}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    into.write_text(text, encoding="utf-8")
    if len(results.live) > 1:
        (into.parent / _PLOT).write_text(svg(results.live), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
