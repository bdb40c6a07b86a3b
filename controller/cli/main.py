"""The program `roomkeeper`: under which name it runs, and what becomes of an error. `commands` says what it can do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from controller.cli.commands import Commands
from controller.errors import RoomkeeperError, SettingsError

_NAMES: Final = {"kubectl-roomkeeper": "kubectl roomkeeper"}


def main() -> None:
    """Run the command of `sys.argv`. An error that we raise becomes one clear message and exit status 2 or 1."""
    program = Commands(
        name="roomkeeper",
        help="Keeps one-to-one calls on LiveKit alive and tidy, from Kubernetes resources.",
        no_args_is_help=True,
    )
    try:
        program.main(prog_name=called(sys.argv[0]))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except RoomkeeperError as error:
        sys.stderr.write(f"roomkeeper: {error}\n")
        sys.exit(1)


def called(argument_zero: str) -> str:
    """The name for the usage line, as users type it: kubectl runs `kubectl-roomkeeper` for `kubectl roomkeeper`."""
    name = Path(argument_zero).name
    if name == "__main__.py":
        return "python -m controller"
    return _NAMES.get(name, name)
