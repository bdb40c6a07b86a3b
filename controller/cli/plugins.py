"""Commands that live outside the operator's package: whatever distribution registers them in the entry point group.

    [project.entry-points."roomkeeper.commands"]
    sandbox = "sandbox.cli:app"

An entry point names a Typer. One whose package is not there is skipped: the operator's image holds no sandbox, although
the metadata of the distribution lists it. An error inside a package that is there is reported, never hidden.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from typer import Typer

from controller.errors import RoomkeeperError

GROUP: Final = "roomkeeper.commands"


@dataclass(frozen=True, slots=True)
class Part:
    """What we know about a plugin of our own without importing it."""

    help: str
    remedy: str
    """How to get it where it is missing."""


PARTS: Final = {
    "sandbox": Part(
        "The whole stack on this machine, with real programs.",
        "it runs from a clone of Roomkeeper's repository, where `make venv` installs it",
    ),
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """An entry point whose package is there."""

    entry: importlib.metadata.EntryPoint

    @property
    def name(self) -> str:
        """The name of the command."""
        return self.entry.name

    @property
    def help(self) -> str:
        """One line for the list of commands; it does not import the plugin."""
        part = PARTS.get(self.name)
        return part.help if part else f"Commands of the package {self.entry.module.partition('.')[0]}."

    def load(self) -> Typer:
        """Import the plugin. Raises RoomkeeperError if that fails."""
        try:
            app: Typer = self.entry.load()
        except (ImportError, AttributeError) as error:
            raise RoomkeeperError(
                f"the command {self.name} is installed but {self.entry.value} cannot be imported: {error}"
            ) from error
        return app


def installed() -> list[Plugin]:
    """All plugins whose package is there, by name."""
    entries = importlib.metadata.entry_points(group=GROUP)
    return [Plugin(entry) for entry in sorted(entries) if _is_there(entry.module)]


def find(name: str) -> Plugin | None:
    """The plugin with this command; None if nothing is known of it.

    Raises RoomkeeperError for a part of ours that is not installed.
    """
    for plugin in installed():
        if plugin.name == name:
            return plugin
    if part := PARTS.get(name):
        raise RoomkeeperError(f"the {name} is not installed here: {part.remedy}")
    return None


def _is_there(module: str) -> bool:
    """Whether the module could be imported, as far as that shows without running it."""
    package, _, _ = module.partition(".")
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
