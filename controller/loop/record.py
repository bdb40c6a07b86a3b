"""Dumps of what a planner was given and what it decided (`--record DIR`), and `roomkeeper replay`, which asks it again.

A dump is one line of JSON: kind, key, desired, observed, now, plan. Since planners are pure, a dump from a user's
cluster becomes a test fixture as it is. Tokens and secrets are in no observation, so they are in no dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError

from controller.api.match import Match
from controller.api.room import Room
from controller.errors import RoomkeeperError
from controller.facts.match import MatchSeen
from controller.facts.room import RoomSeen
from controller.loop.key import Key, Kind
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.plan.step import Plan
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase

log = structlog.get_logger(__name__)

_MATCH_SEEN: TypeAdapter[MatchSeen] = TypeAdapter(MatchSeen)
_ROOM_SEEN: TypeAdapter[RoomSeen] = TypeAdapter(RoomSeen)


class Recorder:
    """Appends dumps to one file per object and UID in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

    def record(self, key: Key, desired: Match | Room, seen: MatchSeen | RoomSeen, now: datetime, plan: Plan) -> None:
        """Append one dump."""
        adapter: TypeAdapter[Any] = _MATCH_SEEN if key.kind is Kind.MATCH else _ROOM_SEEN
        line = {
            "kind": key.kind,
            "key": str(key),
            "now": now.isoformat(),
            "desired": desired.manifest(),
            "observed": adapter.dump_python(seen, mode="json"),
            "plan": plan_as_json(plan),
        }
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{key.kind}-{key.namespace}-{key.name}"[:200])
        try:
            with (self._directory / f"{name}-{desired.metadata.uid[:8]}.jsonl").open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")
        except OSError as error:
            # An aid to debugging must not decide anything.
            log.warning("a decision could not be recorded", key=str(key), why=error.strerror)


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
        """Whether today's planner decides as the one that was recorded."""
        return self.recorded == self.planned


def replay(path: Path) -> Iterator[Replayed]:
    """Every dump of the file or directory `path`, planned anew. Raises RoomkeeperError where a line is no dump."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise RoomkeeperError(f"{path}: no dumps (*.jsonl) in this directory; make some with `operator --record-dir`")
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            yield _replay_line(f"{file.name}:{number}", line)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """A plan in JSON types: each action with its name and fields."""
    actions = [{"action": type(action).__name__, **_plain(asdict(action))} for action in plan.actions]
    return {
        "actions": actions,
        "deadline": plan.deadline.isoformat() if plan.deadline is not None else None,
        "waitsFor": plan.waits_for,
    }


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise RoomkeeperError(f"{file}: cannot be read: {error.strerror}") from error


def _replay_line(source: str, line: bytes) -> Replayed:
    try:
        dump = orjson.loads(line)
        now = datetime.fromisoformat(dump["now"])
        if dump["kind"] == Kind.MATCH:
            plan = plan_match(
                MatchCase(Match.model_validate(dump["desired"]), _MATCH_SEEN.validate_python(dump["observed"]), now)
            )
        else:
            plan = plan_room(
                RoomCase(Room.model_validate(dump["desired"]), _ROOM_SEEN.validate_python(dump["observed"]), now)
            )
        return Replayed(source, dump["key"], dump["now"], dump["plan"], plan_as_json(plan))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise RoomkeeperError(f"{source}: is not a dump of this version: {error}") from error


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
