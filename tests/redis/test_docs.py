"""docs/redis.md names every key and every script that other services may call, with the keys that it takes."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from controller.clients.redis import scripts
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from tests.redis.world import NOW, World

CONTRACT = (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8")
KEYS = [name for name, member in vars(Keys).items() if inspect.isfunction(member) and not name.startswith("_")]
PUBLISHED = (scripts.ENQUEUE, scripts.LEAVE, scripts.BEAT, scripts.RESERVE, scripts.RELEASE)


@pytest.mark.parametrize("name", KEYS)
def test_every_key_is_in_the_contract(name: str) -> None:
    keys = Keys("default", "calls")
    method = getattr(keys, name)
    arguments = ["X"] * len(inspect.signature(method).parameters)
    stem = method(*arguments).removeprefix(keys.prefix).removesuffix("X")
    assert re.search(rf"`{re.escape(stem)}[<`]", CONTRACT), f"docs/redis.md does not name {stem}"


@pytest.mark.parametrize("script", PUBLISHED, ids=lambda script: script.name)
def test_every_published_script_is_in_the_contract_with_its_keys_in_order(script: scripts.Script) -> None:
    row = re.search(rf"^\| `{script.name}` \| (.*?) \|", CONTRACT, re.MULTILINE)
    assert row, f"docs/redis.md has no row for {script.name}"
    header = re.search(r"^-- KEYS (.*?) · ARGV", script.text, re.MULTILINE)
    assert header
    documented = re.findall(r"`([a-z]+)(?::<id>)?`", row[1])
    assert documented == re.findall(r"(?:\d |then )([a-z]+)", header[1])


async def test_the_contract_lists_the_fields_of_users_and_ledgers(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    await world.raw("HSET", world.keys.match("m1"), "last:alice", "{}")
    values = (await world.snapshot()).values
    for field in (*values["user:alice"], *values["match:m1"]):
        assert f"`{field.partition(':')[0]}" in CONTRACT, f"docs/redis.md does not explain {field}"
    assert parse_ledger("m1", values["match:m1"]) is not None
    assert values["match:m1"]["createdAt"] == str(NOW)
