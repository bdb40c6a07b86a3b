"""Carries out the Python part of the Dockerfile in a directory: no root, no container, the same commands.

    python -m sandbox.image sbom    # what the image contains, as CycloneDX

Of the stages `build` and `sbom` it takes `COPY`, `ENV` and the `RUN` instructions that begin with Python; the others
(Debian's packages, `strip`) change no Python package. `/opt` becomes the directory, and Python the one that runs this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sandbox.errors import BuildError
from sandbox.image import dockerfile
from sandbox.image.dockerfile import Instruction
from sandbox.source import ROOT

SBOM: Final = "roomkeeper.cdx.json"
_STAGES: Final = ("build", "sbom")
_PYTHON: Final = "/usr/bin/python"
_OPT: Final = "/opt/"
_TAIL_CHARACTERS: Final = 3000


def install(target: Path) -> Path:
    """Make `target/roomkeeper`, the image's virtual environment, and `target/roomkeeper.cdx.json`; the former's path.

    Raises BuildError with the command's last lines if one of the commands fails.
    """
    target.mkdir(parents=True, exist_ok=True)
    files = dockerfile.read()
    with tempfile.TemporaryDirectory(prefix="roomkeeper-install-") as folder:
        work = Path(folder)
        environment = dict(os.environ)
        for name in _STAGES:
            stage = files.stage(name)
            environment |= stage.environment()
            # What was downloaded once is taken from the user's cache: the same files, sooner.
            environment.pop("PIP_NO_CACHE_DIR", None)
            for instruction in stage.instructions:
                if instruction.keyword == "COPY":
                    _copy(instruction, work)
                elif instruction.keyword == "RUN":
                    _run(instruction, work, target.resolve(), environment)
        shutil.copy2(work / SBOM, target / SBOM)
    _compile(target / "roomkeeper")
    return target / "roomkeeper"


def _compile(environment: Path) -> None:
    """As the stage `finish` does, which needs `strip` too: a program that compiles at each start takes seconds."""
    command = [str(environment / "bin/python"), "-m", "compileall", "-q", "-f", "-j", "2"]
    subprocess.run(
        [*command, "--invalidation-mode", "unchecked-hash", str(environment / "lib")], capture_output=True, check=True
    )


def is_portable(instruction: Instruction) -> bool:
    """Whether a `RUN` works anywhere: it begins with Python."""
    return _command(instruction).startswith(_PYTHON + " ")


def _command(instruction: Instruction) -> str:
    """The shell command of a `RUN`, without its options."""
    rest = instruction.text
    while rest.startswith("--"):
        rest = rest.partition(" ")[2]
    return rest


def _copy(instruction: Instruction, work: Path) -> None:
    *sources, _ = instruction.words
    for path in dockerfile.copy_set():
        if "." in sources or str(path) in sources:
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, work / path)


def _run(instruction: Instruction, work: Path, target: Path, environment: Mapping[str, str]) -> None:
    if not is_portable(instruction):
        return
    script = _command(instruction).replace(_PYTHON + " ", '"$PYTHON" ').replace(_OPT, '"$TARGET"/')
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        cwd=work,
        env={**environment, "PYTHON": sys.executable, "TARGET": str(target)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"`{script}` ended with status {done.returncode}:\n{done.stdout[-_TAIL_CHARACTERS:]}")
