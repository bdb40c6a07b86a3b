"""Markdown for the generated pages: tables, and state machines drawn with Mermaid."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from controller.api.machine import Machine, S, Stage

# Mermaid would break longer labels itself, in worse places.
_LABEL_WIDTH: Final = 20


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table, without the end of its last line."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def stages(kind: str, machine: Machine[S]) -> str:
    """A state machine as a table; `kind` heads its first column."""
    return table(
        (kind, "meaning", "leaves on"),
        ((f"`{stage.name}`", stage.meaning, _exits(stage)) for stage in machine.values()),
    )


def diagram(machine: Machine[S]) -> str:
    """A state machine as a picture: an arrow for every pair of stages with an exit from the first to the second."""
    return "\n".join(("```mermaid", "stateDiagram-v2", *(f"    {line}" for line in _arrows(machine)), "```"))


def _exits(stage: Stage[S]) -> str:
    if stage.terminal:
        return f"terminal; {stage.afterwards}"
    return "; ".join(f"{way.when}{f' (`{way.by}`)' if way.by else ''} → `{way.to}`" for way in stage.exits)


def _arrows(machine: Machine[S]) -> Iterator[str]:
    yield f"[*] --> {next(iter(machine))}"
    for stage in machine.values():
        for target in dict.fromkeys(way.to for way in stage.exits):
            causes = [_wrapped(way.when) for way in stage.exits if way.to == target]
            yield f"{stage.name} --> {target}: {'<br/>or '.join(causes)}"
    for stage in machine.values():
        if stage.terminal:
            yield f"{stage.name} --> [*]"


def _wrapped(text: str) -> str:
    """The text in as few lines as the width allows, all of about the same length."""
    # A label of Mermaid ends at a colon or a semicolon.
    plain = text.replace(":", ",").replace(";", ",")
    ways = (textwrap.wrap(plain, width) for width in range(8, _LABEL_WIDTH + 1))
    fewest = min(ways, key=len)
    return "<br/>".join(fewest)
