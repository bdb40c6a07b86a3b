"""Freezes programs of a stack: requests to them wait in the kernel, and are executed once the programs go on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from sandbox.endpoints import Endpoints


@contextlib.contextmanager
def frozen(where: Endpoints, program: str) -> Iterator[None]:
    """Freeze `program` within the block: it neither answers nor acts."""
    pid = int((where.directory / "pids" / program).read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
