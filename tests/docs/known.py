"""What exists in this repository, and may therefore be named in a text: read from the code, never from a list.

Files and modules come from the tree, commands from click, flags of other programs from their parsers, targets from the
Makefile, fields from the CRDs, values from the chart, settings and metrics from their modules.
"""

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final
from unittest.mock import patch

from typer.core import TyperGroup

from controller.api.cloudevents import EVENTS
from controller.cli.main import main
from controller.generate.chart.schema import settings_in_values
from controller.generate.chart.values import CHART, read_values
from controller.generate.crds import DEFINITIONS, crd
from controller.generate.settings_pages import metrics_page
from controller.settings import FILE_FIELDS, Settings, file_field, variable
from tests.docs import code

ROOT: Final = Path(__file__).resolve().parents[2]
_OURS: Final = ("controller", "sandbox", "benchmarks", "examples", "tests", "contract", "release", "website")
_HIDDEN_BUT_OURS: Final = frozenset({".importlinter", ".gitignore", ".ci", ".github"})
_MADE: Final = ("__pycache__", ".egg-info")


@dataclass(frozen=True)
class Known:
    """All of it, for the tree below `root`."""

    root: Path = ROOT

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every file and directory below the root, without what is made by tools."""
        tops = [top for top in self.root.iterdir() if not top.name.startswith(".") or top.name in _HIDDEN_BUT_OURS]
        found = [path for top in tops if top.name != "build" for path in (top, *top.rglob("*"))]
        names = (path.relative_to(self.root).as_posix() for path in found)
        return frozenset(name for name in names if not any(made in name for made in _MADE))

    @cached_property
    def trees(self) -> Mapping[str, ast.Module]:
        """Our Python files, parsed, by path."""
        mine = (path for path in self.paths if path.endswith(".py") and path.startswith(_OURS))
        return {path: ast.parse((self.root / path).read_text(encoding="utf-8")) for path in mine}

    @cached_property
    def modules(self) -> Mapping[str, code.Module]:
        """Our modules and packages by their full dotted name."""
        found = {code.dotted(path): code.module(tree) for path, tree in self.trees.items()}
        for package in {name.rpartition(".")[0] for name in found} - {""}:
            found.setdefault(package, code.Module(frozenset(), {}))
        return found

    @cached_property
    def classes(self) -> Mapping[str, frozenset[str]]:
        """The members of every class by its name, those of the bases that are ours included."""
        own: dict[str, set[str]] = {}
        bases: dict[str, set[str]] = {}
        for tree in self.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    own.setdefault(node.name, set()).update(code.members(node))
                    bases.setdefault(node.name, set()).update(code.plain_names(node.bases))
        return {name: frozenset(code.inherited(name, own, bases)) for name in own}

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Every name and every word in a string that our code uses; docstrings do not count."""
        words: set[str] = set()
        for path, tree in self.trees.items():
            # The test of the check names what does not exist.
            if path != "tests/docs/test_check.py":
                words |= set(code.identifiers(tree))
        for path in self.paths:
            if path.endswith((".lua", ".yaml", ".toml", ".mod", ".txt", ".importlinter")):
                words |= set(re.findall(r"\w+", (self.root / path).read_text(encoding="utf-8")))
        return frozenset(words)

    @cached_property
    def commands(self) -> Mapping[tuple[str, ...], frozenset[str]]:
        """Every command of `roomkeeper` by its words, with its flags."""
        return dict(_commands((), _program()))

    @cached_property
    def program_flags(self) -> Mapping[str, frozenset[str]]:
        """The flags of every program that is run as `python -m`, by its package.

        They are what its parsers add, and those of the modules that it imports.
        """
        own = {code.dotted(path): set(code.flags(tree)) for path, tree in self.trees.items()}
        found: dict[str, set[str]] = {}
        for path, tree in self.trees.items():
            package = code.dotted(path) if path.endswith("__init__.py") else code.dotted(path).rpartition(".")[0]
            imported = (node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module)
            flags = (own.get(module, set()) for module in (code.dotted(path), *imported))
            found.setdefault(package, set()).update(*flags)
        return {name: frozenset(flags) for name, flags in found.items()}

    @cached_property
    def flags(self) -> frozenset[str]:
        """Every flag of any program of ours."""
        return frozenset().union(*self.commands.values(), *self.program_flags.values())

    @cached_property
    def targets(self) -> frozenset[str]:
        """What `make` can be told to make."""
        makefile = (self.root / "Makefile").read_text(encoding="utf-8")
        return frozenset(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))

    @cached_property
    def variables(self) -> frozenset[str]:
        """The environment variables of the settings, and those that our code spells out."""
        settings = {variable(name) for name in (*Settings.model_fields, *map(file_field, FILE_FIELDS))}
        return frozenset(settings | {word for word in self.identifiers if word.startswith("ROOMKEEPER_")})

    @cached_property
    def metrics(self) -> frozenset[str]:
        """The names of all metrics."""
        return frozenset(re.findall(r"^\| `(\w+)`", metrics_page(""), re.MULTILINE))

    @cached_property
    def fields(self) -> frozenset[str]:
        """The path of every field of every resource, from `spec` or `status` on: `spec.timeouts.connectSeconds`."""
        schemas = (crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for definition in DEFINITIONS)
        return frozenset(path for schema in schemas for path in _fields(schema, ""))

    @cached_property
    def values(self) -> frozenset[str]:
        """The path of every value of the Helm chart and of every group of values: `livekit.existingSecret`."""
        values = read_values((self.root / CHART / "values.yaml").read_text(encoding="utf-8"))
        leaves = [value.path for value in values] + [("settings", name) for name in settings_in_values()]
        return frozenset(".".join(path[: i + 1]) for path in leaves for i in range(len(path)))

    @cached_property
    def event_types(self) -> frozenset[str]:
        """The types of the events, without their common prefix."""
        return frozenset(row.type for row in EVENTS)


class _Program(BaseException):
    """Carries the command that a program is about to run."""


def _program() -> TyperGroup:
    """The group behind `roomkeeper`, however its entry point makes it: caught as it is about to run."""

    def caught(group: TyperGroup, *_arguments: Any, **_options: Any) -> None:
        raise _Program(group)

    with patch.object(TyperGroup, "main", caught):
        try:
            main()
        except _Program as found:
            group: TyperGroup = found.args[0]
            return group
    raise AssertionError("`roomkeeper` does not run a group of commands")


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """A command and all below it, through click's API. A context knows the command itself where it is loaded lazily."""
    with command.make_context(words[-1] if words else "roomkeeper", [], resilient_parsing=True) as context:
        command = context.command
    flags = [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
    yield words, frozenset(flag for flag in (*flags, "--help") if flag.startswith("-"))
    if hasattr(command, "list_commands"):
        with command.make_context(words[-1] if words else "roomkeeper", [], resilient_parsing=True) as context:
            for name in command.list_commands(context):
                yield from _commands((*words, name), command.get_command(context, name))


def _fields(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _fields(inner.get("items", inner), f"{prefix}{name}.")


def ends_of(paths: Iterable[str]) -> frozenset[str]:
    """Each path and what remains of it without its first segments: people write `act/users.py`."""
    parts = (PurePosixPath(path).parts for path in paths)
    return frozenset("/".join(part[i:]) for part in parts for i in range(len(part)))


@cache
def is_installed(module: str) -> bool:
    """Whether another project's module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False
