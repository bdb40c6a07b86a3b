"""SIGTERM ends long synchronous work the way Ctrl-C does: by an exception that runs the clean-up.

The supervision of a running stack handles both signals in its event loop instead (`sandbox.cli`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS_TERMINATED = 128 + signal.SIGTERM


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit in the main thread."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_STATUS_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
