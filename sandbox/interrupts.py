"""SIGTERM ends long synchronous work as Ctrl-C does: by an exception, so the clean-up runs.

While a stack runs, both signals are handled in the event loop instead (`cli`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS_TERMINATED = 128 + signal.SIGTERM


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Within the block, SIGTERM raises SystemExit in the main thread."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(EXIT_STATUS_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
