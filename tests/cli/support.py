"""Runs the program in a process of its own, through the scripts that pip installs, and reports what it imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.launch import launched

SCRIPTS: Final = ("roomkeeper", "kubectl-roomkeeper")

# Runs a script as the shell would, and says at the end, on another channel, which modules are there.
_DRIVER: Final = """
import json, os, runpy, sys
script, channel = sys.argv[1], int(sys.argv[2])
sys.argv = [script, *sys.argv[3:]]
{before}
try:
    runpy.run_path(script, run_name="__main__")
finally:
    os.write(channel, json.dumps(sorted(sys.modules)).encode())
    os.close(channel)
"""


@dataclass(frozen=True)
class Done:
    """A run that is over."""

    status: int
    out: str
    err: str
    modules: frozenset[str]

    def imported(self, *packages: str) -> set[str]:
        """Which of these packages were imported."""
        return {package for package in packages if package in self.modules}


def script(name: str = "roomkeeper") -> Path:
    """The script that pip has written for the console command."""
    return Path(sys.executable).with_name(name)


def run(
    *arguments: str, program: str = "roomkeeper", before: str = "", environment: Mapping[str, str] | None = None
) -> Done:
    """Run the program to its end. `before` is Python code that runs first in the same process."""
    ours, theirs = os.pipe()
    driver = _DRIVER.format(before=before)
    command = [sys.executable, "-c", driver, str(script(program)), str(theirs), *arguments]
    with os.fdopen(ours) as channel:
        with subprocess.Popen(
            launched(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[theirs],
            env={**os.environ, "COLUMNS": "120", **(environment or {})},
        ) as process:
            os.close(theirs)
            out, err = process.communicate()
        return Done(process.returncode, out, err, frozenset(json.loads(channel.read())))
