"""`python -m benchmarks.document build/bench.json`: write the figures of a run into docs/performance.md.

`--into docs/capacity.md` writes them there. It rewrites the text between the two markers, and nothing else. Run it on
the machine that was measured, because the line above the tables describes the machine that it runs on.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.figures import goals
from benchmarks.report import Results, Section, read_json, sections
from sandbox.source import ROOT

_DOCUMENT = ROOT / "docs" / "performance.md"
_END = "<!-- figures: end -->"
_BLOCK = re.compile(rf"(<!-- figures: (?!end).*?-->\n).*?({re.escape(_END)})", re.DOTALL)


class MarkersMissing(Exception):
    """The document has no place for the figures."""


def rewritten(text: str, block: str) -> str:
    """`text` with `block` between its markers. Raises MarkersMissing."""
    if len(_BLOCK.findall(text)) != 1:
        raise MarkersMissing(f"expected one block between <!-- figures: … --> and {_END}")
    return _BLOCK.sub(lambda found: f"{found[1]}{block.strip()}\n{found[2]}", text)


def block(results: Results, machine: str, command: str) -> str:
    """Return the figures as Markdown."""
    parts = [f"`{command}` on {machine}."]
    for section in sections(results):
        parts.append(f"### {section.title}\n\n" + "\n".join(_table(section)))
    lines = [
        f"| {goal.sentence} | {goal.told} | {_VERDICTS[goal.is_met]} |"
        for goal in goals(results.ready, results.life, results.capacity)
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
        f"watchers), {gibibytes:.0f} GiB, Python {platform.python_version()}"
    )


_VERDICTS = {True: "met", False: "missed", None: ""}


def _table(section: Section) -> Iterator[str]:
    yield _line(section.headings)
    yield "|---" * len(section.headings) + "|"
    for cells in section.rows:
        yield _line(cells)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(
    figures: Annotated[Path, typer.Argument(help="what `make bench` wrote", exists=True, dir_okay=False)],
    into: Annotated[Path, typer.Option(help="the document", exists=True, dir_okay=False)] = _DOCUMENT,
    command: Annotated[str, typer.Option(help="how the figures were made")] = "make bench",
) -> None:
    """Write the figures of a run into docs/performance.md."""
    try:
        text = rewritten(into.read_text(encoding="utf-8"), block(read_json(figures), this_machine(), command))
    except MarkersMissing as error:
        print(f"benchmarks: {into}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    into.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
