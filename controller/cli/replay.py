"""`roomkeeper replay`: asks today's planner about every recorded decision, and shows where it decides differently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from controller.errors import RoomkeeperError
from controller.loop.recipes import RECIPES, Recipes
from controller.loop.record import Replayed, replay_line


def replay(path: Path, recipes: Recipes = RECIPES) -> Iterator[Replayed]:
    """Every dump of the file or directory `path`, planned again. Raises RoomkeeperError where a line is no dump."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise RoomkeeperError(f"{path}: no dumps (*.jsonl) in this directory; make some with `operator --record-dir`")
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            yield replay_line(f"{file.name}:{number}", line, recipes)


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise RoomkeeperError(f"{file}: cannot be read: {error.strerror}") from error
