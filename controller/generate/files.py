"""Files that are made from the code: find the stale ones, and write them.

Neighbor: `generate.command` lists the files.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Generator:
    """One command, and the files that it makes below `root`.

    `what` and `source` tell people what is made and from what. `make` returns the content of every file by its path
    below the root; the same code makes the same files.
    """

    command: str
    what: str
    source: str
    make: Callable[[Path], Mapping[str, str]]
    root: Path = ROOT

    def stale(self) -> dict[str, str]:
        """Return the files that are missing or differ from what the code says, with the content they should have."""
        return {path: text for path, text in self.make(self.root).items() if _read(self.root / path) != text}

    def write(self) -> list[str]:
        """Write the stale files; return their names."""
        stale = self.stale()
        for path, text in stale.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text, encoding="utf-8")
        return list(stale)

    def main(self, arguments: list[str] | None = None) -> int:
        """Run the command; return the exit status, which is 1 if `--check` finds a stale file."""
        parser = argparse.ArgumentParser(prog=self.command, description=f"Write {self.what}, made from {self.source}.")
        parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
        if parser.parse_args(arguments).check:
            if stale := self.stale():
                _say(
                    f"stale: {', '.join(stale)}\nThey are made from {self.source}. To update them, run: {self.command}"
                )
                return 1
            return 0
        for path in self.write():
            _say(f"wrote {path}")
        return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
