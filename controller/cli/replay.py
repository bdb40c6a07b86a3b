"""`roomkeeper replay`: recorded decisions, asked again. `loop.record` writes the dumps, `loop.replay` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def replay(
    dump: Annotated[
        Path,
        typer.Argument(metavar="DUMP", help="A file of dumps (*.jsonl), or the directory of `operator --record-dir`"),
    ],
) -> None:
    """Ask today's planner about every recorded decision.

    Shows each decision that it takes differently; the exit status is 1 if there is one.
    """
    # Its help needs neither the planners nor rich.
    from rich.console import Console

    from controller.loop.replay import replay as decisions

    console = Console()
    same = different = 0
    for result in decisions(dump):
        if result.is_same:
            same += 1
            continue
        different += 1
        console.print(f"[bold]{result.source}[/]  {result.key}  at {result.now}")
        console.print("  recorded:", result.recorded)
        console.print("  today:   ", result.planned)
    console.print(f"{same + different} decisions replayed: {same} the same, {different} different")
    raise typer.Exit(1 if different else 0)
