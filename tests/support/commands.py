"""The programs that the commands of a page call: kubectl, roomkeeper and redis-cli, in a directory for PATH."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from sandbox.parts import locate
from sandbox.source import ROOT

_PROGRAMS = {"roomkeeper": ("-m", "controller"), "redis-cli": (str(ROOT / "tests/redis/redis_cli.py"),)}


def put_into(directory: Path) -> None:
    """Write the programs into `directory`. Those that are ours run in the interpreter of the tests."""
    (directory / "kubectl").symlink_to(locate("kubectl").path)
    for name, arguments in _PROGRAMS.items():
        (directory / name).write_text(f'#!/bin/sh\nexec {shlex.join((sys.executable, *arguments))} "$@"\n')
        (directory / name).chmod(0o755)
