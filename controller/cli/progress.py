"""Progress in lines: one line per step, rewritten in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

_NAME_WIDTH: Final = 18
_PLAIN_INTERVAL_SECONDS: Final = 10.0


class Lines:
    """Writes progress to stdout and warnings to stderr."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._rewrites = self._out.isatty()
        self._started: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def running(self, step: str, detail: str) -> None:
        """A step is under way; may be called often."""
        now = time.monotonic()
        self._started.setdefault(step, now)
        if self._rewrites:
            self._write(f"\r\033[K  … {step:<{_NAME_WIDTH}} {detail}"[: _columns()])
        elif step not in self._shown or now - self._shown[step] >= _PLAIN_INTERVAL_SECONDS:
            self._shown[step] = now
            self._write(f"  … {step:<{_NAME_WIDTH}} {detail}\n")

    def done(self, step: str, detail: str) -> None:
        """A step is over."""
        seconds = time.monotonic() - self._started.get(step, time.monotonic())
        self._write(f"{self._fresh()}  ✓ {step:<{_NAME_WIDTH}} {detail}   {seconds:.1f} s\n")

    def warn(self, text: str) -> None:
        """Something a user should know later, too."""
        self._write(self._fresh())
        self._err.write(f"roomkeeper: {text}\n")
        self._err.flush()

    def end(self) -> None:
        """End a line that is being rewritten."""
        self._write(self._fresh())

    def _fresh(self) -> str:
        return "\r\033[K" if self._rewrites else ""

    def _write(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, errors="replace").decode(encoding))
        self._out.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns + len("\r\033[K")
