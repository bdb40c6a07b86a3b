"""Files of KEY=VALUE lines that a shell (`set -a; . FILE`) and a plain parser read alike.

Values consist of harmless characters only: nothing is quoted, and a value that would need quotes is refused.
`directory` makes sure that paths are harmless too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HARMLESS = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")


def is_harmless(value: str) -> bool:
    """Whether a shell and a plain parser read the value alike, without quotes."""
    return _HARMLESS.fullmatch(value) is not None


def render(values: Mapping[str, str]) -> str:
    """The text of a file with these values. Raises ValueError for a value that would need quotes."""
    for key, value in values.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a name for an environment variable")
        if not is_harmless(value):
            raise ValueError(f"the value of {key} has characters that a shell would change")
    return "".join(f"{key}={value}\n" for key, value in values.items())


def parse(text: str) -> dict[str, str]:
    """The values in a text made by `render`; blank lines and comments are skipped."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key: value for key, _, value in pairs}


def load(path: Path) -> dict[str, str]:
    return parse(path.read_text(encoding="utf-8"))
