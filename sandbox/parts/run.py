"""Runs a long command (a compiler, pip) with progress, and shows its last lines when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.errors import BuildError
from sandbox.launch import launched
from sandbox.logs import tail
from sandbox.progress import Progress

_POLL_SECONDS = 0.2


def run_with_progress(
    command: Sequence[str],
    *,
    name: str,
    doing: str,
    log: Path,
    environment: Mapping[str, str],
    cwd: Path,
    progress: Progress,
) -> float:
    """Run the command to its end; returns the seconds that it took. Raises BuildError if it fails."""
    began = time.monotonic()
    with log.open("wb") as output:
        # A session of its own: at Ctrl-C we kill the command with all its children.
        process = subprocess.Popen(
            launched(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
        try:
            while True:
                progress.running(name, doing, time.monotonic() - began)
                try:
                    code = process.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code != 0:
        progress.failed(name, f"{doing}: exit status {code}")
        raise BuildError(f"{name} could not be made: {doing} ended with status {code}:\n{tail(log)}")
    return time.monotonic() - began
