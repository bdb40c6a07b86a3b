"""docs/redis.md names every key and every script that other services may call, with the keys that it takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.api.match import QueuePlace
from controller.clients.redis import lua
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from controller.clients.redis.requests import (
    AdvanceRequest,
    Signal,
    SignalKind,
    UserState,
)
from controller.facts.ledger import Destination
from tests.redis.world import NOW, World

DOCS = Path(__file__).parents[2] / "docs"
CONTRACT = (DOCS / "redis.md").read_text(encoding="utf-8")
EVENTS = (DOCS / "events.md").read_text(encoding="utf-8")
# `flag` is the common form of three that have names of their own.
KEYS = [
    name
    for name, member in vars(Keys).items()
    if inspect.isfunction(member) and not name.startswith("_") and name != "flag"
]
PUBLISHED = (lua.ENQUEUE, lua.LEAVE, lua.BEAT, lua.RESERVE, lua.RELEASE)


@pytest.mark.parametrize("name", KEYS)
def test_every_key_is_in_the_contract(name: str) -> None:
    keys = Keys("default", "calls")
    method = getattr(keys, name)
    arguments = ["X"] * len(inspect.signature(method).parameters)
    stem = method(*arguments).removeprefix(keys.prefix).removesuffix("X")
    assert re.search(rf"`{re.escape(stem)}[<`]", CONTRACT), f"docs/redis.md does not name {stem}"


@pytest.mark.parametrize("script", PUBLISHED, ids=lambda script: script.name)
def test_every_published_script_is_in_the_contract_with_its_keys_in_order(script: lua.Script) -> None:
    row = re.search(rf"^\| `{script.name}` \| (.*?) \|", CONTRACT, re.MULTILINE)
    assert row, f"docs/redis.md has no row for {script.name}"
    header = re.search(r"^-- KEYS (.*?)(?: · ARGV|$)", script.text, re.MULTILINE)
    assert header
    documented = re.findall(r"`([a-z]+)(?::<id>)?`", row[1])
    assert documented == re.findall(r"(?:\d |then )([a-z]+)", header[1])


@pytest.mark.parametrize("script", PUBLISHED, ids=lambda script: script.name)
def test_the_examples_call_the_published_scripts_with_as_many_keys_as_they_take(script: lua.Script) -> None:
    row = re.search(rf"^\| `{script.name}` \| (.*?) \|", CONTRACT, re.MULTILINE)
    examples = re.findall(rf"run {script.name} (\d+) ((?:\$\{{P\}}\S+ )+)", CONTRACT + EVENTS)
    assert row
    assert examples, f"the docs do not show how {script.name} is called"
    for count, given in examples:
        names = [name.removeprefix("${P}").partition(":")[0] for name in given.split()]
        assert int(count) == len(names)
        documented = re.findall(r"`([a-z]+)", row[1])
        assert list(dict.fromkeys(names)) == documented


async def test_the_contract_lists_the_fields_of_users_and_ledgers(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.raw("HSET", world.keys.match("m1"), "last:alice", "{}")
    for kind in (SignalKind.SKIP, SignalKind.SUSPECT, SignalKind.TOKEN):
        await Inbox(world.pool).signal(Signal("m1", "alice", kind), now_ms=NOW)
    seen: dict[str, Mapping[str, str]] = {}
    for alone in (True, False, True):
        both = (("alice", UserState.IN_CALL), ("bob", UserState.IN_CALL))
        await world.pool.advance(AdvanceRequest("m1", both, alone=alone, room="r", url="u"), now_ms=NOW)
        seen = merged(seen, (await world.snapshot()).values)
    await world.settle("m1", dict.fromkeys(("alice", "bob"), (Destination.WAITING, QueuePlace.NOW)))
    seen = merged(seen, (await world.snapshot()).values)
    for field in (*seen["user:alice"], *seen["match:m1"]):
        assert f"`{field.partition(':')[0]}" in CONTRACT, f"docs/redis.md does not explain {field}"
    assert parse_ledger("m1", seen["match:m1"]) is not None
    assert seen["match:m1"]["createdAt"] == str(NOW)


def merged(one: Mapping[str, Mapping[str, str]], other: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """The hashes of both, each with the fields of both."""
    return {name: {**one.get(name, {}), **value} for name, value in other.items() if isinstance(value, dict)}
