"""Progress for people: one line per thing, rewritten in place on a terminal, plain lines in a pipe.

Used by `parts.build` (minutes) and `sandbox.cli` (seconds).
"""

from __future__ import annotations

import sys
from typing import TextIO

_PLAIN_INTERVAL_SECONDS = 15.0
_NAME_WIDTH = 26
_DETAIL_WIDTH = 52


class Progress:
    """Writes to `stream`; never raises because nobody reads any more."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._rewrites = self._stream.isatty()
        self._told: dict[str, float] = {}

    def note(self, text: str) -> None:
        """A line of its own."""
        self._write(self._fresh() + text + "\n")

    def running(self, name: str, doing: str, seconds: float) -> None:
        """Tell that `name` is still going on; call it as often as you like."""
        if self._rewrites:
            self._write(self._fresh() + f"  … {name:<{_NAME_WIDTH}} {doing:<{_DETAIL_WIDTH}} {seconds:6.0f} s")
            return
        told = self._told.get(name)
        if told is None or seconds - told >= _PLAIN_INTERVAL_SECONDS:
            self._told[name] = seconds
            since = f", {seconds:.0f} s so far" if told is not None else ""
            self._write(f"  … {name:<{_NAME_WIDTH}} {doing}{since}\n")

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Tell that `name` is finished."""
        self._write(self._fresh() + f"  ✓ {name:<{_NAME_WIDTH}} {detail:<{_DETAIL_WIDTH}} {seconds:6.1f} s\n")

    def failed(self, name: str, detail: str) -> None:
        """Tell that `name` did not work."""
        self._write(self._fresh() + f"  ✗ {name:<{_NAME_WIDTH}} {detail}\n")

    def _fresh(self) -> str:
        return "\r\033[K" if self._rewrites else ""

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, errors="replace").decode(encoding))
            self._stream.flush()
        except BrokenPipeError:
            return
