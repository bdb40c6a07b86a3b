"""`roomkeeper sandbox …`: the stack for people and for other programs.

`up` runs until Ctrl-C or SIGTERM, or until one of the programs dies. It shows its progress on stdout, where the last
line begins with `ready`; errors and the end go to stderr.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.directory import is_alive, owner
from sandbox.endpoints import Endpoints
from sandbox.errors import ProgramError, SandboxError
from sandbox.interrupts import terminate_as_interrupt
from sandbox.parts import STACK_PROGRAMS, ensure
from sandbox.parts.cli import app as parts_app
from sandbox.parts.locate import find
from sandbox.progress import Progress
from sandbox.source import DEMO_DIRECTORY
from sandbox.stack import Stack, StackOptions

app = typer.Typer(
    no_args_is_help=True,
    help="The whole stack on this machine, with real programs.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(parts_app, name="parts")

_DEFAULT_DIRECTORY = Path(".sandbox")
_DOWN_TIMEOUT_SECONDS = 15.0


@app.callback()
def sandbox() -> None:
    """The whole stack on this machine, with real programs."""


@app.command()
def up(
    directory: Annotated[
        Path, typer.Option("--dir", help="directory for its files; one per sandbox")
    ] = _DEFAULT_DIRECTORY,
    operator: Annotated[
        bool, typer.Option("--operator/--no-operator", help="start the operator, or leave that to you")
    ] = True,
    cluster_id: Annotated[str, typer.Option(help="the operator's cluster id")] = "sandbox",
) -> None:
    """Start Kubernetes' API, Redis, LiveKit and the operator; stop them all on Ctrl-C or SIGTERM."""
    progress = Progress()
    try:
        with terminate_as_interrupt():
            ensure(STACK_PROGRAMS, progress)
        options = StackOptions(directory=directory, operator=operator, cluster_id=cluster_id)
        status = asyncio.run(_run(options, progress))
    except SandboxError as error:
        print(f"roomkeeper sandbox: {error}", file=sys.stderr)
        status = 1
    raise typer.Exit(status)


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="directory for the logs and files of its stack")
    ] = DEMO_DIRECTORY,
) -> None:
    """Tell the story of one call on real programs, each step verified."""
    # Only now: the other commands need no LiveKit library.
    from sandbox.demo.run import tell

    raise typer.Exit(tell(directory))


@app.command()
def down(
    directory: Annotated[Path, typer.Option("--dir", help="the sandbox's directory")] = _DEFAULT_DIRECTORY,
) -> None:
    """Stop the sandbox that runs in a directory, and wait until it is gone."""
    if not is_alive(directory):
        print(f"roomkeeper sandbox: none is running in {directory}", file=sys.stderr)
        raise typer.Exit(1)
    os.kill(int(owner(directory)), signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_TIMEOUT_SECONDS
    while is_alive(directory):
        if time.monotonic() > deadline:
            print(f"roomkeeper sandbox: {directory} is still busy", file=sys.stderr)
            raise typer.Exit(1)
        time.sleep(0.05)


async def _run(options: StackOptions, progress: Progress) -> int:
    """Run until a signal or the death of a program; the exit status is 0 after a signal and 1 after a death."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    began = time.monotonic()
    stack = Stack(options, on_started=progress.done)
    progress.note(f"Roomkeeper sandbox in {stack.directory.path}")
    stopping = asyncio.create_task(asked_to_stop.wait())
    try:
        if not await _unless(stopping, asyncio.create_task(stack.start())):
            return 0
        _show_where(stack.endpoints, options, progress)
        progress.note(f"ready in {time.monotonic() - began:.1f} s; Ctrl-C stops everything")
        death = asyncio.create_task(stack.wait_for_death())
        if await _unless(stopping, death):
            return _report(death.result())
        return 0
    finally:
        await stack.stop()
        stopping.cancel()


async def _unless(stopping: asyncio.Task[bool], work: asyncio.Task[Any]) -> bool:
    """Whether `work` finished before `stopping`. If not, it is cancelled, and has cleaned up when this returns."""
    await asyncio.wait({stopping, work}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
    if work.cancelled():
        return False
    work.result()
    return not stopping.done()


def _report(death: ProgramError) -> int:
    print(f"roomkeeper sandbox: {death}\nEverything else was stopped.", file=sys.stderr)
    return 1


def _kubectl_elsewhere() -> str | None:
    """The path of the kubectl that `make parts` has installed, if there is none on PATH."""
    part = None if shutil.which("kubectl") else find("kubectl")
    return str(part.path) if part else None


def _show_where(endpoints: Endpoints, options: StackOptions, progress: Progress) -> None:
    directory = endpoints.kubeconfig.parent
    progress.note(f"  kubeconfig  export KUBECONFIG={endpoints.kubeconfig}")
    progress.note(f"  env         set -a; . {directory}/env; set +a")
    if kubectl := _kubectl_elsewhere():
        progress.note(f"  kubectl     {kubectl}")
    progress.note(f"  logs        {directory}/logs")
    if not options.operator:
        progress.note(f"  operator    (set -a; . {directory}/operator.env; exec roomkeeper operator)")
