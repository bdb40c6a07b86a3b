"""Checks the workflows: actionlint for their form and their scripts (with shellcheck), zizmor for their security.

zizmor and shellcheck are Python packages of the development environment; actionlint is built with Go from the pin in
`parts/actionlint`, once per user. None of them uses the network.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from sandbox.parts.build import ensure
from sandbox.progress import Progress
from sandbox.source import ROOT

WORKFLOWS: Final = ROOT / ".github" / "workflows"


def lint(files: list[Path] | None = None) -> int:
    """Run both over `files`, or over all workflows; return the exit status of the first that finds something, or 0."""
    chosen = list(map(str, files or sorted(WORKFLOWS.glob("*.yml"))))
    tools = Path(sys.executable).parent
    actionlint = ensure(["actionlint"], Progress(sys.stderr))["actionlint"].path
    for command in (
        [str(actionlint), "-shellcheck", str(tools / "shellcheck"), "-pyflakes", "", *chosen],
        [str(tools / "zizmor"), "--offline", "--no-progress", "--quiet", *chosen],
    ):
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status != 0:
            return status
    return 0
