"""docs/redis.md names every key and every field, and its examples do what they show; so do those of docs/events.md.

The command of docs/retention.md that empties the streams keeps what the operator may not have read.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.client import Redis
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import KEY_RULES, Keys
from controller.clients.redis.ledger import parse_ledger
from controller.clients.redis.requests import AdvanceRequest, Signal, SignalKind
from controller.facts.ledger import Destination
from tests.redis import redis_cli
from tests.redis.servers import Server
from tests.redis.world import NOW, World

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
RETENTION = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
# `flag` is the common form of three that have names of their own.
KEYS = [
    name
    for name, member in vars(Keys).items()
    if inspect.isfunction(member) and not name.startswith("_") and name not in {"flag", "name"}
]
UID, NAME, ROOM = "6f1c…", "match-7f3a", "rk-1b2c…"


TYPES = {"sorted set": "zset"}


def stem(form: str) -> str:
    return form.partition("<")[0]


def test_every_key_that_the_code_builds_has_its_rule_and_its_prefix() -> None:
    keys = Keys("default", "calls")
    built = {}
    for name in KEYS:
        method = getattr(keys, name)
        key = method(*["X"] * len(inspect.signature(method).parameters))
        built[keys.name(key).removesuffix("X")] = key.startswith("rk-operator:{default:calls}:")
    assert built == {stem(rule.form): rule.is_private for rule in KEY_RULES}


@pytest.mark.parametrize(("section", "is_private"), [("Keys of the contract", False), ("Keys of the operator", True)])
def test_the_page_lists_every_key_with_its_type_in_the_section_of_its_prefix(section: str, is_private: bool) -> None:
    text = CONTRACT.partition(f"### {section}\n")[2].partition("\n### ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| `")]
    listed = {
        stem(form): TYPES.get(kind.partition(",")[0], kind.partition(",")[0])
        for cell, kind in rows
        for form in re.findall(r"`([^`]+)`", cell)
    }
    assert listed == {stem(rule.form): rule.type for rule in KEY_RULES if rule.is_private == is_private}


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


# The examples


@dataclass
class Example:
    """A command line of a page, and the lines that the page shows as its output."""

    command: str
    output: list[str]


def shell_blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def examples(page: str) -> Iterator[Example]:
    """The lines that begin with a prompt."""
    for block in shell_blocks(page):
        found: list[Example] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Example(line[2:], []))
            elif found:
                found[-1].output.append(line)
        yield from found


def definitions(page: str) -> str:
    """The blocks without a prompt: what a reader types once, for all examples."""
    return "\n".join(block for block in shell_blocks(page) if not block.startswith("$ "))


def as_shown(shown: str, printed: str) -> bool:
    """Whether a printed line is the one of the page, but for times, what the page leaves out, and its remarks."""
    shown = re.sub(r'(?<=")   +\S.*$', "", shown)
    pattern = re.escape(shown).replace("…", ".*")
    return re.fullmatch(re.sub(r"\d{13}", r"\\d{13}", pattern), printed) is not None


@dataclass
class Shell:
    """Runs command lines as a reader would, in the root of the repository."""

    folder: Path
    definitions: str
    socket: str

    def __post_init__(self) -> None:
        program = shlex.join([sys.executable, "-I", redis_cli.__file__, self.socket])
        (self.folder / "redis-cli").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        (self.folder / "redis-cli").chmod(0o755)

    def run(self, command: str) -> list[str]:
        """The lines that a command line prints."""
        done = subprocess.run(
            ["bash", "-euc", f"{self.definitions}\n{command}"],
            cwd=ROOT,
            env={"PATH": f"{self.folder}:{os.environ['PATH']}", "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.splitlines()


class Story:
    """What happens between the examples of docs/redis.md, so that each finds what it is about."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("FCALL roomkeeper_enqueue", self.the_library_is_gone),
            ("FCALL roomkeeper_beat", self.a_match_takes_alice),
            ("HGET", self.tokens_are_issued),
            ("FCALL roomkeeper_leave", self.the_match_ends_and_alice_waits),
            ("FCALL roomkeeper_release", self.alice_and_bob_wait),
            ("ZRANGEBYSCORE", self.alice_has_met_carol),
        ]

    async def before(self, command: str) -> None:
        """Take the next step of the story, if it comes before this command."""
        if self._steps and self._steps[0][0] in command:
            await self._steps.pop(0)[1]()

    @property
    def is_told(self) -> bool:
        return not self._steps

    async def the_library_is_gone(self) -> None:
        await self._world.raw("FUNCTION", "FLUSH")

    async def a_match_takes_alice(self) -> None:
        await self._world.claim(UID, "alice", "zoe", match_name=NAME, room=ROOM)

    async def tokens_are_issued(self) -> None:
        token = (
            '{"token": "eyJ", "url": "wss://example.org", "room": "rk-1b2c", "identity": "alice", '
            '"expiresAt": "2026-11-23T18:47:14Z"}'
        )
        await self._world.pool.put_tokens(UID, {"alice": token}, ttl_seconds=60)

    async def the_match_ends_and_alice_waits(self) -> None:
        await self._world.settle(UID, dict.fromkeys(("alice", "zoe"), (Destination.IDLE, QueuePlace.NOW)))
        await self._world.gateway.enqueue("alice", session="tab-1")

    async def alice_and_bob_wait(self) -> None:
        await self._world.enqueue_at("alice", 1795456034267)
        await self._world.enqueue_at("bob", 1795456034281)

    async def alice_has_met_carol(self) -> None:
        await self._world.raw("DEL", self._world.keys.recent("alice"))
        await self._world.raw("ZADD", self._world.keys.recent("alice"), "9" * 13, "carol")


@pytest.fixture
async def documented(redis: Redis) -> AsyncIterator[World]:
    """The pool that the pages speak of, empty before and after."""
    world = await World.new(redis, "calls", cluster_id="default")
    yield world
    await world.lose_everything()


async def test_the_examples_of_the_docs_print_what_the_docs_show(
    server: Server, documented: World, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, definitions(CONTRACT), server.url.removeprefix("unix://"))
    story, called = Story(documented), ""
    for example in (*examples(CONTRACT), *examples(EVENTS)):
        await story.before(example.command)
        printed = shell.run(example.command)
        called += example.command
        if example.output:
            assert len(printed) == len(example.output), f"{example.command}: {printed}"
            for shown, line in zip(example.output, printed, strict=True):
                assert as_shown(shown, line), f"{example.command}: printed {line}, the page shows {shown}"
        else:
            assert printed, example.command
            assert not printed[0].startswith("(error)"), f"{example.command}: {printed[0]}"
    assert story.is_told
    for name in ("enqueue", "beat", "leave", "reserve", "release", "version"):
        assert f"FCALL roomkeeper_{name}" in called or f"FCALL_RO roomkeeper_{name}" in called


async def test_what_is_older_than_a_minute_goes_from_all_streams_and_nothing_else(
    server: Server, documented: World, tmp_path: Path
) -> None:
    keys = documented.keys
    streams = (keys.signals(), keys.disconnects(), keys.events(), keys.webhooks(0))
    now = await documented.raw("TIME")
    now_ms = int(now[0]) * 1000
    await documented.raw("DEL", *streams)
    for stream in streams:
        for age_ms in (3_600_000, 61_000, -3_600_000):
            await documented.raw("XADD", stream, str(now_ms - age_ms), "user", "alice")
    [command] = re.findall(r"^ *```sh\n((?:(?!```).)*XTRIM.*?)^ *```$", RETENTION, re.MULTILINE | re.DOTALL)
    shell = Shell(tmp_path, "ROOMKEEPER_REDIS_URL=", server.url.removeprefix("unix://"))
    command = command.replace('-u "$ROOMKEEPER_REDIS_URL" ', "")
    assert shell.run(command) == ["(integer) 2"] * len(streams)
    for stream in streams:
        [(left, _)] = await documented.raw("XRANGE", stream, "-", "+")
        assert left == f"{now_ms + 3_600_000}-0"
