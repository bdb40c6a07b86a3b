"""`roomkeeper sandbox parts …`: builds or installs the real programs, and shows where each comes from."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from sandbox.errors import SandboxError
from sandbox.interrupts import terminate_as_interrupt
from sandbox.parts.build import ensure
from sandbox.parts.locate import find
from sandbox.parts.programs import STACK_PROGRAMS, TOOLS, programs
from sandbox.progress import Progress

app = typer.Typer(no_args_is_help=True, help="The real programs that the sandbox runs.", rich_markup_mode=None)

_NEEDED = (*STACK_PROGRAMS, *TOOLS)


@app.command()
def build(
    only: Annotated[list[str] | None, typer.Argument(help="programs to make; all if you name none")] = None,
) -> None:
    """Build or install what is missing, once, into the per-user cache; show what is used."""
    unknown = sorted(set(only or ()) - set(programs()))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; programs are {', '.join(programs())}", file=sys.stderr)
        raise typer.Exit(2)
    progress = Progress()
    began = time.monotonic()
    try:
        with terminate_as_interrupt():
            parts = ensure(only or _NEEDED, progress)
    except SandboxError as error:
        print(f"roomkeeper sandbox parts: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for part in parts.values():
        print(f"  {part.name:<26} {part.version:<10} {part.source:<24} {part.path}")
    print(f"all parts are there ({time.monotonic() - began:.1f} s)")


@app.command(name="list")
def show() -> None:
    """Show which program would be used, from where, and what is missing."""
    complete = True
    for name in (*_NEEDED, "go"):
        part = find(name)
        complete = complete and (part is not None or name == "go")
        described = f"{part.version:<10} {part.source:<24} {part.path}" if part else "missing"
        print(f"  {name:<26} {described}")
    if not complete:
        print("`make parts` makes what is missing")
        raise typer.Exit(1)
