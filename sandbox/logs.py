"""The end of a log file, for error messages."""

from __future__ import annotations

from pathlib import Path

_READ_BYTES = 16_384


def tail(path: Path, lines: int = 15) -> str:
    """The last lines, indented; empty if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _READ_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])
