"""The table of commands, and the group that imports a command's module only when the command is invoked.

The first line of a command's help stands here, so the program lists its commands without importing them: a kubectl
plugin must answer at once, and `operator` alone needs most of the libraries. A test holds this table to the modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

from typer import Typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from controller.cli import plugins


@dataclass(frozen=True, slots=True)
class Entry:
    """One command or group of commands."""

    name: str
    module: str
    """Offers `app`, a Typer."""
    help: str
    """The first line of its help."""


COMMANDS: Final = (
    Entry("doctor", "controller.cli.doctor", "Ask what is wrong with an installation."),
    Entry("errors", "controller.cli.errors", "Show what went wrong, how often, and what became of it."),
    Entry("explain", "controller.cli.explain", "Tell how a call went, also if its Match is gone."),
    Entry("operator", "controller.cli.operator", "Run the operator until SIGTERM."),
    Entry("replay", "controller.cli.replay", "Ask today's planner about every recorded decision."),
    Entry("sweep", "controller.cli.sweep", "Clean up what is left of calls, users and rooms that are over."),
    Entry(
        "uninstall",
        "controller.cli.uninstall",
        "Take Roomkeeper out of the cluster in the right order.",
    ),
    Entry("version", "controller.cli.version", "Print the version."),
)


class LightHelp:
    """A command whose `--help` costs nothing where it is not given.

    Typer lets pydantic check every value, also the missing one of a flag; a flag that defaults to False needs no check.
    """

    def get_help_option(self, ctx: Any) -> Any:
        """The option `--help`."""
        option = super().get_help_option(ctx)  # type: ignore[misc]  # a mixin: the class beside it has the method
        if option is not None:
            option.default = False
        return option


class LightCommand(LightHelp, TyperCommand):
    """For commands without parameters: they start without pydantic."""


class Deferred(TyperCommand):
    """Stands for a command whose module is not imported yet.

    It has a name and a help line, which is enough to list it. As soon as it gets arguments, it hands them to the
    command itself.
    """

    def __init__(self, name: str, help: str, load: Callable[[], Typer]) -> None:
        super().__init__(name, help=help, rich_markup_mode=None)
        self._load = load

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself; imports its module."""
        return get_command(self._load()).make_context(info_name, args, parent=parent, **extra)


class Commands(LightHelp, TyperGroup):
    """The commands of the table, and after them those of the plugins."""

    def __init__(self, **attributes: Any) -> None:
        own = {entry.name: Deferred(entry.name, entry.help, partial(_app_of, entry.module)) for entry in COMMANDS}
        super().__init__(**attributes | {"commands": own, "rich_markup_mode": None})

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the help."""
        return [*self.commands, *(plugin.name for plugin in plugins.installed() if plugin.name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, not imported yet; None if there is none."""
        if command := self.commands.get(cmd_name):
            return command
        # The entry points of all installed distributions are read only for a name that is not in the table.
        if plugin := plugins.find(cmd_name):
            return Deferred(plugin.name, plugin.help, plugin.load)
        return None


def _app_of(module: str) -> Typer:
    app: Typer = import_module(module).app
    return app
