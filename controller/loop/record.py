"""Dumps of what a planner was given and what it decided (`operator --record-dir`).

A dump is one line of JSON: kind, key, desired, observed, now, plan. Since planners are pure, a dump from a user's
cluster becomes a test fixture as it is. Tokens and secrets are in no observation, so they are in no dump. Neighbors:
`loop.reconcile` records, `loop.replay` asks the planner again.
"""

from __future__ import annotations

import functools
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, TypeAdapter

from controller.api.meta import Resource
from controller.loop.key import Key
from controller.loop.recipes import Recipe, Recipes
from controller.plan.step import Plan

log = structlog.get_logger(__name__)


class Recorder:
    """Appends dumps to one file per object and UID in `directory`."""

    def __init__(self, directory: Path, recipes: Recipes) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._recipes = recipes

    def record(self, key: Key, desired: Resource, seen: Any, now: datetime, plan: Plan) -> None:
        """Append one dump."""
        line = {
            "kind": key.kind.kind,
            "key": str(key),
            "now": now.isoformat(),
            "desired": desired.manifest(),
            "observed": adapter(self._recipes[key.kind]).dump_python(seen, mode="json"),
            "plan": plan_as_json(plan),
        }
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{key.kind}-{key.namespace}-{key.name}"[:200])
        try:
            with (self._directory / f"{name}-{desired.metadata.uid[:8]}.jsonl").open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")
        except OSError as error:
            # An aid to debugging must not decide anything.
            log.warning("a decision could not be recorded", key=str(key), why=error.strerror)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """A plan in JSON types: each action with its name and fields."""
    actions = [{"action": type(action).__name__, **_plain(asdict(action))} for action in plan.actions]
    return {
        "actions": actions,
        "deadline": plan.deadline.isoformat() if plan.deadline is not None else None,
        "waitsFor": plan.waits_for,
    }


@functools.cache
def adapter(recipe: Recipe[Any, Any, Any, Any]) -> TypeAdapter[Any]:
    """Writes and reads what is seen of one kind."""
    return TypeAdapter(recipe.seen)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json", by_alias=True, exclude_none=True))
    if isinstance(value, datetime):
        return value.isoformat()
    return value
