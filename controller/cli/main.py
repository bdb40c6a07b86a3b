"""The command line: `roomkeeper` (and `kubectl roomkeeper`, the same program).

Flags of `operator` are made from the settings, one for each. Commands that live outside the operator's package (the
sandbox) are found through the entry point group `roomkeeper.commands`, so the image need not contain them.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from controller.errors import RoomkeeperError, SettingsError
from controller.settings import Settings, load_settings, variable

app = typer.Typer(
    name="roomkeeper",
    help="Keeps one-to-one calls on LiveKit alive and tidy, from Kubernetes resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """One program, several commands."""


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"roomkeeper {importlib.metadata.version('roomkeeper')}\n")


@app.command()
def replay(
    dump: Annotated[
        Path, typer.Argument(help="A file of dumps (*.jsonl), or the directory of `operator --record-dir`")
    ],
) -> None:
    """Ask the planner again about every recorded decision, and show where it decides differently today."""
    from controller.cli import replay as dumps

    console = Console()
    same = different = 0
    for result in dumps.replay(dump):
        if result.is_same:
            same += 1
            continue
        different += 1
        console.print(f"[bold]{result.source}[/]  {result.key}  at {result.now}")
        console.print("  recorded:", result.recorded)
        console.print("  today:   ", result.planned)
    console.print(f"{same + different} decisions replayed: {same} the same, {different} different")
    raise typer.Exit(1 if different else 0)


def _operator(**flags: str | None) -> None:
    """Run the operator until SIGTERM. Every flag is also an environment variable."""
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    # Only now: other commands and wrong settings need neither kopf nor a loop.
    import uvloop

    from controller.app.life import serve
    from controller.telemetry import logs

    secret = settings.livekit_api_secret.get_secret_value()
    logs.configure(settings.log_format, settings.log_level, (secret,))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def _with_settings_as_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with one option per setting; pydantic checks the values, so all of them are texts here."""
    parameters = []
    for name, field in Settings.model_fields.items():
        text = f"{field.description} [env {variable(name)}]"
        option = typer.Option(f"--{name.replace('_', '-')}", help=text, metavar="TEXT", show_default=False)
        kind = Annotated[str | None, option]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def build() -> typer.Typer:
    """The whole program, with the commands that are installed beside it."""
    app.command("operator")(_with_settings_as_flags(_operator))
    for entry in importlib.metadata.entry_points(group="roomkeeper.commands"):
        app.add_typer(entry.load(), name=entry.name)
    return app


def main() -> None:
    """Entry point: errors that we raise on purpose become one clear message and exit status 2 or 1."""
    try:
        build()(prog_name=Path(sys.argv[0]).name if "roomkeeper" in sys.argv[0] else "roomkeeper")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except RoomkeeperError as error:
        sys.stderr.write(f"roomkeeper: {error}\n")
        sys.exit(1)
