"""`roomkeeper version`."""

from __future__ import annotations

import sys

import typer

from controller.cli.commands import LightCommand
from controller.version import VERSION

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=LightCommand)
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"roomkeeper {VERSION}\n")
