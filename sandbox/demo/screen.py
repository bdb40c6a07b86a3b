"""How the demo looks: one line per verified step; on a terminal with colors and a spinner, plain lines in a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

_WHAT_WIDTH = 46
_DETAIL_WIDTH = 36
_TIME_WIDTH = 8
_WIDTH = 4 + _WHAT_WIDTH + _DETAIL_WIDTH + _TIME_WIDTH
_INDENT = 6


class Screen:
    """Writes to stdout."""

    def __init__(self) -> None:
        # A terminal that cannot show the ticks gets question marks, not a traceback.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        self._console = Console(highlight=False, soft_wrap=True)

    def title(self, name: str, beside: str) -> None:
        """Write the first line."""
        gap = max(2, _WIDTH - cell_len(name) - cell_len(beside))
        self._console.print(Text.assemble((name, "bold"), " " * gap, (beside, "dim")))

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Show a spinner while the step runs."""
        if not self._console.is_terminal:
            yield
            return
        spinner = Padding(Spinner("dots", Text(what), style="cyan"), (0, 0, 0, 2))
        with Live(spinner, console=self._console, transient=True, refresh_per_second=12):
            yield

    def done(self, what: str, detail: str, seconds: float) -> None:
        """Write the line of a verified step."""
        time = show_seconds(seconds)
        free = _DETAIL_WIDTH + _TIME_WIDTH - cell_len(detail) - cell_len(time)
        line = Text("  ")
        line.append("✓ ", "bold green")
        line.append(_pad(what, _WHAT_WIDTH))
        line.append(detail + " " * max(2, free), "cyan")
        line.append(time, "dim")
        self._console.print(line)

    def show(self, text: str) -> None:
        """Write what a user would see: a command and its output."""
        for line in text.splitlines():
            style = "bold dim" if line.startswith("$ ") else "dim"
            self._console.print(Text(" " * _INDENT + line, style))

    def failed(self, what: str, lines: list[tuple[str, str]]) -> None:
        """Write the lines of a failed step: its title, and the details as (label, text)."""
        self._console.print(Text.assemble("  ", ("✗ ", "bold red"), (what, "bold")))
        for label, text in lines:
            first, *rest = text.splitlines() or [""]
            self._console.print(Text.assemble(" " * _INDENT, (_pad(label, 10), "red"), first))
            for line in rest:
                self._console.print(Text(" " * (_INDENT + 10) + line))

    def close(self, text: str, after: str = "") -> None:
        """Write the last line."""
        self._console.print(Text.assemble((text, "bold"), after))


def show_seconds(seconds: float) -> str:
    """`12 ms` or `6.2 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _pad(text: str, width: int) -> str:
    return text + " " * max(2, width - cell_len(text))
