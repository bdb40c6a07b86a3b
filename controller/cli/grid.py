"""Tables as kubectl shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_LONGEST_CELL: Final = 60


def grid(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Columns as kubectl shows them; the last one is cut, the others are as wide as they must be."""
    lines = [head, *(tuple(" ".join(cell.split()) or "-" for cell in row) for row in rows)]
    widths = [min(_LONGEST_CELL, max(len(line[n]) for line in lines)) for n in range(len(head))]
    return "\n".join(
        "  ".join(_cell(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(cell: str, width: int) -> str:
    return f"{cell:<{width}}" if len(cell) <= width else f"{cell[: width - 1]}…"
