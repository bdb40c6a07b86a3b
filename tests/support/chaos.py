"""Programs of a stack held still: what is sent to them waits in the kernel, and is done once they go on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from sandbox.endpoints import Endpoints


@contextlib.contextmanager
def frozen(where: Endpoints, program: str) -> Iterator[None]:
    """`program` neither answers nor acts within the block."""
    pid = int((where.directory / "pids" / program).read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
