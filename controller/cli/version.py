"""`roomkeeper version`."""

from __future__ import annotations

import importlib.metadata
import sys

import typer

from controller.cli.commands import LightCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=LightCommand)
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"roomkeeper {importlib.metadata.version('roomkeeper')}\n")
