"""The header of each Lua script is true: of the script, of the code that calls it, and of docs/redis.md."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pytest

import contract
from controller.api.failure_codes import FailureCode
from controller.api.failures_table import FAILURES
from controller.api.livekitserver import DrainType
from controller.api.states import UserState
from controller.clients.redis import lua
from controller.clients.redis.client import Arguments, Redis
from controller.clients.redis.epochs import EpochStore
from controller.clients.redis.error_store import ErrorBatch, ErrorStore
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.held import held_among
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import Keys
from controller.clients.redis.leftovers import LeftoverStore, lasting
from controller.clients.redis.mending import keys_of_pool, mend, repair
from controller.clients.redis.outbox import Outbox
from controller.clients.redis.pool import Pool
from controller.clients.redis.records import RoomRecord
from controller.clients.redis.requests import (
    AdvanceRequest,
    Claimant,
    ClaimRequest,
    Served,
    SettleRequest,
    Signal,
    SignalKind,
    Witnessed,
)
from controller.clients.redis.sweeps import SweepStore
from controller.facts.drain import DrainFacts
from controller.facts.error_record import HOUR_MS, ErrorKey, ErrorRecord, HourCounts
from controller.facts.ledger import Cause, Destination, Release
from controller.facts.leftover import Leftover, Remedy, SweepKind
from controller.generate.script_headers import Header, Part, fits, parse

NOW = 1_700_000_000_000
BOTH = ("alice", "bob")
KEYS = Keys("default", "calls")
CONTRACT = (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8")
UNFENCED = {"epoch", "silent", "flags", "witness", "errors", "mend", "repair", "lasting", "held", "sweeps"}
OF_NO_POOL = (lua.EPOCH, lua.SWEEPS)


def own_text(name: str) -> str:
    """The script's own file, without what it begins with."""
    if name in contract.SCRIPTS:
        return contract.read(f"{name}.lua")
    return (resources.files("controller.clients.redis") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def header_of(script: lua.Script) -> Header:
    header = parse(own_text(script.name))
    if script.name in contract.SCRIPTS or script.name in UNFENCED:
        return header
    return header.after(parse(own_text("operator")))


class Recorded(Exception):
    """The call was recorded; there is no answer."""


@dataclass
class Recorder:
    """Stands for Redis, and keeps each call of a script."""

    calls: list[tuple[lua.Script, Sequence[str], Sequence[str | int]]] = field(default_factory=list)

    async def run(self, script: lua.Script, keys: Sequence[str], args: Arguments) -> list[str]:
        self.calls.append((script, keys, args() if callable(args) else args))
        raise Recorded


def every_call(redis: Redis) -> list[Callable[[], Awaitable[Any]]]:
    """Every way in which our client calls a script."""
    pool, gateway = Pool(redis, KEYS, shard=0, epoch=7, incarnation="i"), Gateway(redis, KEYS)
    inbox, outbox, leftovers = Inbox(pool), Outbox(pool), LeftoverStore(pool)
    leftover = Leftover(
        *(SweepKind.USERS, Remedy.EXPIRE, "calls", "alice", "IDLE for long"),
        key=KEYS.user("alice"),
        type="hash",
        unchanged={"state": "IDLE", "since": str(NOW)},
    )
    moved = tuple((user_id, UserState.IN_CALL) for user_id in BOTH)
    freed = tuple(Release(user_id, Destination.IDLE) for user_id in BOTH)
    claimants = tuple(Claimant(user_id) for user_id in BOTH)
    record = RoomRecord("rk-1", "room", "active", NOW, 2)
    seen = Witnessed(
        event="participant_left",
        entry=(("event", "participant_left"),),
        match_uid="m",
        identity="alice",
        sid="PA_1",
        at_ms=NOW,
        joined_at_ms=NOW,
    )
    nameless = Witnessed(event="room_started", entry=(), match_uid="", identity="", sid="", at_ms=NOW, joined_at_ms=0)
    flag = Signal("m", "alice", SignalKind.SKIP, via="pre-skip", flag_value="1")
    key = ErrorKey("RedisTimeout", "Claim", "match/match-1")
    errors = ErrorBatch("replica", 1, HourCounts(NOW // HOUR_MS), (ErrorRecord(key, "calls", 2, NOW, NOW),) * 2)
    return [
        lambda: gateway.enqueue("alice"),
        lambda: gateway.leave("alice"),
        lambda: gateway.beat("alice"),
        lambda: gateway.reserve("match-1", BOTH, ttl_seconds=30),
        lambda: gateway.reserve("match-1", ("alice",), ttl_seconds=30),
        gateway.release_expired,
        lambda: pool.claim(ClaimRequest("m", "match-1", "s", claimants), now_ms=NOW),
        lambda: pool.advance(AdvanceRequest("m", moved), now_ms=NOW),
        lambda: pool.settle(SettleRequest("m", "s", freed, Cause("Ended")), now_ms=NOW),
        lambda: pool.settle(SettleRequest("m", "s", (), Cause("Ended"), final=False), now_ms=NOW),
        lambda: pool.write_room_record(record, now_ms=NOW),
        lambda: pool.shut_room_record("rk-1", now_ms=NOW),
        lambda: pool.end_room_record("rk-1", now_ms=NOW),
        lambda: pool.put_tokens("m", dict.fromkeys(BOTH, "{}"), ttl_seconds=60),
        lambda: pool.delete_tokens("m"),
        lambda: pool.witness(seen),
        lambda: pool.witness(nameless),
        lambda: pool.serve(Served("1.0", 30)),
        lambda: ErrorStore(redis, KEYS.error_keys).add(errors, now_ms=NOW),
        lambda: mend(redis, KEYS, keys_of_pool(KEYS)),
        lambda: repair(redis, KEYS.match("m"), dict.fromkeys(BOTH, "?"), dict.fromkeys(BOTH, "")),
        lambda: lasting(redis, KEYS, [KEYS.user("alice"), KEYS.match("m")], idle_seconds=60),
        lambda: SweepStore(redis, "default", "ns/lease").keep("operator/7/pod", ttl_seconds=30),
        lambda: SweepStore(redis, "default", "ns/lease").give_back("operator/7/pod"),
        lambda: leftovers.drop(leftover),
        lambda: leftovers.drop(replace(leftover, match="m")),
        lambda: leftovers.free(leftover, now_ms=NOW, silent_seconds=90, tells=True),
        lambda: leftovers.free(replace(leftover, match="m"), now_ms=NOW, silent_seconds=90, tells=False),
        lambda: held_among(redis, KEYS, [KEYS.user(who) for who in BOTH], ["m", "n"]),
        lambda: leftovers.unreserve("alice", "bob"),
        lambda: EpochStore(redis, "default", "ns/lease").note(7),
        pool.ensure_incarnation,
        pool.begin_restore,
        pool.finish_restore,
        lambda: inbox.signal(Signal("m", "alice", SignalKind.SKIP), now_ms=NOW),
        lambda: inbox.signal(flag, now_ms=NOW),
        lambda: inbox.set_signals_done("1-0"),
        lambda: inbox.silent(for_seconds=90, late_after_seconds=60),
        lambda: inbox.flags(BOTH),
        lambda: inbox.expire("alice", NOW, now_ms=NOW),
        lambda: outbox.refused("alice", "1-0", "skip", "idle", now_ms=NOW),
        lambda: outbox.failed(BOTH, FAILURES[FailureCode.USER_BLOCKED], "m", "match-1", now_ms=NOW),
        lambda: outbox.stops(BOTH, "pod-1", "Bye.", now_ms=NOW),
        lambda: outbox.drained("m", BOTH, DrainFacts("d", DrainType.GRACEFUL), now_ms=NOW),
    ]


async def recorded() -> list[tuple[lua.Script, Sequence[str], Sequence[str | int]]]:
    recorder = Recorder()
    for call in every_call(cast("Redis", recorder)):
        with contextlib.suppress(Recorded):
            await call()
    return recorder.calls


def part_at(parts: tuple[Part, ...], index: int) -> Part:
    """The part that the value at this place of a call belongs to."""
    single = [part for part in parts if not part.repeated]
    group = [part for part in parts if part.repeated]
    return single[index] if index < len(single) else group[(index - len(single)) % len(group)]


@pytest.mark.parametrize("script", lua.ALL, ids=lambda script: script.name)
def test_a_script_has_a_complete_header(script: lua.Script) -> None:
    header = header_of(script)
    assert header.name == script.name
    assert header.keys[0].number == header.args[0].number == 1
    assert header.answers
    assert all(header.answers.values()), "an answer has no meaning"
    assert re.fullmatch(r"\d+\.\d+", header.redis)


@pytest.mark.parametrize("script", lua.ALL, ids=lambda script: script.name)
def test_a_header_names_the_answers_that_the_script_gives_and_no_others(script: lua.Script) -> None:
    texts = [own_text(script.name)]
    if script.name not in {*contract.SCRIPTS, *UNFENCED}:
        texts.append(own_text("operator"))
    found = re.findall(r"\{(?:[\w =]+ and )?'([A-Z]{2,})'(?: or '([A-Z]+)')?", "\n".join(texts))
    assert header_of(script).codes == {code for pair in found for code in pair if code}


async def test_our_client_calls_each_script_as_its_header_says() -> None:
    calls = await recorded()
    assert {script.name for script, _, _ in calls} == {script.name for script in lua.ALL}
    for script, keys, args in calls:
        header = header_of(script)
        assert fits(header.keys, len(keys)), f"{script.name} is called with {len(keys)} keys"
        assert fits(header.args, len(args)), f"{script.name} is called with {len(args)} arguments"
        for index, key in enumerate(keys):
            part = part_at(header.keys, index)
            if part.form == "<any>":
                continue
            name, _, member = (key if script in OF_NO_POOL else KEYS.name(key)).partition(":")
            stem, _, wanted = part.form.partition(":")
            assert bool(member) == bool(wanted), f"key {part.number} of {script.name}: {key}"
            assert stem in {name, "<flag>"}, f"key {part.number} of {script.name} is {key}, its header says {part.form}"


async def test_the_ids_in_the_keys_are_those_in_the_arguments() -> None:
    for script, keys, args in await recorded():
        if script.name not in contract.SCRIPTS:
            continue
        header = header_of(script)
        per_user = [key for index, key in enumerate(keys) if part_at(header.keys, index).form.endswith(":<id>")]
        ids = {str(arg) for index, arg in enumerate(args) if part_at(header.args, index).form == "id"}
        assert {key.rpartition(":")[2] for key in per_user} <= ids


def test_every_file_of_scripts_is_one_that_the_client_knows() -> None:
    folder = resources.files("controller.clients.redis") / "scripts"
    files = {file.name for file in folder.iterdir()} | {
        file.name for file in resources.files("contract").iterdir() if file.name.endswith(".lua")
    }
    assert files == {f"{script.name}.lua" for script in lua.ALL} | {"common.lua", "operator.lua", "library.lua"}


# docs/redis.md


def row(table: str, name: str) -> list[str]:
    """The cells of a script's row, in the table that has this heading."""
    found = re.search(rf"^\| {re.escape(table)}.*\n(?:\|.*\n)*?\| `{name}` \|(.*)\|$", CONTRACT, re.MULTILINE)
    assert found, f"docs/redis.md has no row for {name} in the table {table}"
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", found[1])]


@pytest.mark.parametrize("name", contract.SCRIPTS)
def test_the_docs_have_the_arguments_and_answers_of_the_header(name: str) -> None:
    header = parse(own_text(name))
    arguments, answers = row("script | arguments | answers", name)
    assert re.findall(r"`([a-z]+…?)`", arguments) == [arg.form + "…" * arg.repeated for arg in header.args]
    forms = [form for form in header.answers if not form.startswith("INVALID")]
    assert [form.replace("\\|", "|").replace("…", "*") for form in re.findall(r"`([^`]+)`", answers)] == forms


@pytest.mark.parametrize("name", contract.SCRIPTS)
def test_the_docs_have_the_keys_of_the_header_in_order(name: str) -> None:
    header = parse(own_text(name))
    (keys,) = row("script | KEYS", name)
    assert re.findall(r"`([^`]+)`", keys) == [key.form + "…" * key.repeated for key in header.keys]


# What the parser refuses


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("-- a: b.\n--\n-- KEYS\n--   queue\n", "a: the header has 'queue' where a number and a name are expected"),
        ("-- a: b.\n--\n-- KEYS\n--   1 queue\n--   3 user\n", "a: number 3 follows number 1"),
        ("-- a: b.\n--\n-- KEYS\n--  1 queue\n", "a: the header has the line '  1 queue', which is no part of KEYS"),
    ],
)
def test_a_header_that_breaks_the_rules_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parse(text)
