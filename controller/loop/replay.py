"""Recorded decisions, asked again: today's planner gets what a planner was given then.

Neighbors: `loop.record` wrote the dumps, `cli.replay` shows what differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from controller.errors import RoomkeeperError
from controller.loop.recipes import RECIPES, Recipes
from controller.loop.record import adapter, plan_as_json


@dataclass(frozen=True, slots=True)
class Replayed:
    """One dump asked again."""

    source: str
    key: str
    now: str
    recorded: dict[str, Any]
    planned: dict[str, Any]

    @property
    def is_same(self) -> bool:
        """Whether today's planner decides as the recorded one did."""
        return self.recorded == self.planned


def replay(path: Path, recipes: Recipes = RECIPES) -> Iterator[Replayed]:
    """Every dump of the file or directory `path`, planned again. Raises RoomkeeperError where a line is no dump."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise RoomkeeperError(f"{path}: no dumps (*.jsonl) in this directory; make some with `operator --record-dir`")
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            yield _replay_line(f"{file.name}:{number}", line, recipes)


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise RoomkeeperError(f"{file}: cannot be read: {error.strerror}") from error


def _replay_line(source: str, line: bytes, recipes: Recipes) -> Replayed:
    by_name = {recipe.kind.kind: recipe for recipe in recipes.values()}
    try:
        dump = orjson.loads(line)
        now = datetime.fromisoformat(dump["now"])
        recipe = by_name[dump["kind"]]
        desired = recipe.model.model_validate(dump["desired"])
        case = recipe.case(desired, adapter(recipe).validate_python(dump["observed"]), now)
        plan = recipe.plan(case)
        return Replayed(source, dump["key"], dump["now"], dump["plan"], plan_as_json(plan))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise RoomkeeperError(f"{source}: is not a dump of this version: {error}") from error
