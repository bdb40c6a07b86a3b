"""Both ways to call a published script: what they refuse, and that they answer the same."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from redis import exceptions

import contract
from controller.clients.redis import lua
from controller.clients.redis.gateway import Queued
from controller.generate.script_headers import parse
from tests.redis.doors import Door, FunctionsRedis, opened
from tests.redis.servers import Server
from tests.redis.world import World

# Lua reads these as numbers. Redis refuses them, in the middle of a script.
NO_NUMBERS = ("nan", "inf", "1e300")
# Arguments that the scripts refuse: their number is right.
REFUSED: list[tuple[lua.Script, list[str]]] = [
    (lua.ENQUEUE, ["", ""]),
    (lua.ENQUEUE, ["bell\x07", ""]),
    (lua.LEAVE, ["", "", "60000"]),
    (lua.LEAVE, ["alice", "", "soon"]),
    (lua.LEAVE, ["alice", "", "0"]),
    *((lua.LEAVE, ["alice", "", number]) for number in NO_NUMBERS),
    (lua.BEAT, ["", "", "KEEP"]),
    (lua.BEAT, ["alice", "", "MAYBE"]),
    (lua.RESERVE, ["", "60000", "alice"]),
    (lua.RESERVE, ["m", "0", "alice"]),
    *((lua.RESERVE, ["m", number, "alice"]) for number in NO_NUMBERS),
    (lua.RESERVE, ["m", "60000", "alice", "alice"]),
    (lua.RESERVE, ["m", "60000", "alice", ""]),
    (lua.RELEASE, ["0"]),
    (lua.RELEASE, ["many"]),
    *((lua.RELEASE, [number]) for number in NO_NUMBERS),
]
# Too few or too many, in the words of the function.
MISCOUNTED = [
    (lua.ENQUEUE, ["alice"], "expected 2 arguments (id, session), not 1"),
    (lua.BEAT, ["alice", ""], "expected 3 arguments (id, session, mode), not 2"),
    (lua.LEAVE, ["alice", "", "60000", "x"], "expected 3 arguments (id, session, ttl), not 4"),
    (lua.RESERVE, ["m", "60000"], "expected 3 or more arguments (name, ttl, then ids), not 2"),
    (lua.RELEASE, [], "expected 1 argument (limit), not 0"),
]


@pytest.fixture
async def functions(server: Server) -> AsyncIterator[FunctionsRedis]:
    """A client of the loaded library."""
    async with opened(server.url, Door.FCALL) as client:
        assert isinstance(client, FunctionsRedis)
        yield client


def keys_of(world: World, script: lua.Script, ids: list[str]) -> list[str]:
    """The keys that the script's header names; those with an id are repeated for each of `ids`."""
    header = parse(contract.read(f"{script.name}.lua"))
    single = [key.form.replace("<id>", ids[0] if ids else "") for key in header.keys if not key.repeated]
    repeated = [key.form.replace("<id>", who) for who in ids for key in header.keys if key.repeated]
    return [world.keys.prefix + name for name in (*single, *repeated)]


RIGHT = [
    (lua.ENQUEUE, ["alice", "tab-1"], ["alice"]),
    (lua.BEAT, ["alice", "tab-1", "KEEP"], ["alice"]),
    (lua.LEAVE, ["alice", "tab-1", "60000"], ["alice"]),
    (lua.RESERVE, ["m", "60000", "alice", "bob"], ["alice", "bob"]),
    (lua.RELEASE, ["10"], []),
]


@pytest.mark.parametrize(("script", "arguments", "ids"), RIGHT, ids=lambda value: getattr(value, "name", ""))
async def test_two_keys_in_the_wrong_order_are_refused_with_a_sentence_and_spoil_nothing(
    world: World, script: lua.Script, arguments: list[str], ids: list[str]
) -> None:
    before = await world.snapshot()
    keys = keys_of(world, script, ids)
    for one, other in itertools.combinations(range(len(keys)), 2):
        exchanged = list(keys)
        exchanged[one], exchanged[other] = keys[other], keys[one]
        assert await world.redis.run(script, exchanged, arguments) == [
            "INVALID",
            f"expected the key {keys[one]} as number {one + 1}, not {keys[other]}",
        ]
    assert await world.snapshot() == before
    assert (await world.redis.run(script, keys, arguments))[0] != "INVALID"


@pytest.mark.parametrize(("script", "arguments", "ids"), RIGHT, ids=lambda value: getattr(value, "name", ""))
async def test_keys_of_another_pool_of_another_user_or_without_a_prefix_are_refused(
    world: World, script: lua.Script, arguments: list[str], ids: list[str]
) -> None:
    before = await world.snapshot()
    keys = keys_of(world, script, ids)
    wrong = [[*keys[:-1], keys[-1] + "x"], [*keys[:-1], keys[-1].replace("}:", "}")]]
    if ids:
        wrong.append(keys_of(world, script, ["zoe", "mallory"][: len(ids)]))
    for names in wrong:
        word, sentence = await world.redis.run(script, names, arguments)
        assert (word, sentence[:17]) == ("INVALID", "expected the key ")
    word, sentence = await world.redis.run(script, [key.removeprefix("rk:") for key in keys], arguments)
    assert sentence.startswith("expected keys that begin with the prefix of a pool, rk:{<cluster id>:<namespace>}:")
    assert await world.snapshot() == before


@pytest.mark.parametrize(("script", "arguments"), REFUSED)
async def test_both_doors_refuse_wrong_arguments_with_the_same_sentence_and_write_nothing(
    world: World, functions: FunctionsRedis, script: lua.Script, arguments: list[str]
) -> None:
    before = await world.snapshot()
    keys = keys_of(world, script, arguments[2:] if script is lua.RESERVE else arguments[:1])
    word, sentence = await world.redis.run(script, keys, arguments)
    assert word == "INVALID"
    assert sentence.startswith("expected ")
    assert await functions.run(script, keys, arguments) == [word, sentence]
    assert await world.snapshot() == before


@pytest.mark.parametrize(
    ("script", "keys", "arguments"),
    [
        (lua.ENQUEUE, 4, ["alice", ""]),
        (lua.ENQUEUE, 8, ["alice"]),
        (lua.LEAVE, 5, ["alice", "", "60000"]),
        (lua.BEAT, 2, ["alice", "", "KEEP"]),
        (lua.RESERVE, 3, ["m", "60000", "alice"]),
        (lua.RESERVE, 3, ["m", "60000"]),
        (lua.RELEASE, 2, ["10"]),
    ],
)
async def test_a_script_refuses_a_wrong_number_of_keys_or_arguments(
    world: World, script: lua.Script, keys: int, arguments: list[str]
) -> None:
    before = await world.snapshot()
    names = [f"{world.keys.prefix}wrong-{n}" for n in range(keys)]
    word, sentence = await world.redis.run(script, names, arguments)
    assert (word, sentence[:9]) == ("INVALID", "expected ")
    assert await world.snapshot() == before


@pytest.mark.parametrize(("script", "arguments", "sentence"), MISCOUNTED)
async def test_a_function_refuses_a_wrong_number_of_arguments(
    world: World, functions: FunctionsRedis, script: lua.Script, arguments: list[str], sentence: str
) -> None:
    before = await world.snapshot()
    assert await functions.run(script, [world.keys.queue()], arguments) == ["INVALID", sentence]
    assert await world.snapshot() == before


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "rk:",
        "rk:default:calls:",
        "rk:{default:calls}",
        "rk:{default}:",
        "rk:{default:}:",
        "rk:{:calls}:",
        "rk:{default:calls}:queue",
        "rk:{default:calls}::",
        "rk:{default:ca lls}:",
        "rk:{de{fault:calls}:",
        " rk:{default:calls}:",
    ],
)
async def test_a_function_refuses_a_key_that_is_no_prefix_of_a_pool(functions: FunctionsRedis, prefix: str) -> None:
    word, sentence = await functions._on("", "FCALL", "roomkeeper_enqueue", 1, prefix, "alice", "")
    assert word == "INVALID"
    assert sentence.startswith("expected the prefix of the pool as the key, rk:{<cluster id>:<namespace>}:")
    assert sentence.endswith(f"not {prefix}")


@pytest.mark.parametrize("count", [0, 2])
async def test_a_function_takes_one_key(world: World, functions: FunctionsRedis, count: int) -> None:
    keys = [world.keys.prefix, world.keys.queue()][:count]
    answer = await functions._on("", "FCALL", "roomkeeper_enqueue", count, *keys, "alice", "")
    assert answer[0] == "INVALID"
    assert answer[1].endswith(f"such as rk:{{default:calls}}:, not {count} keys")


async def test_the_library_has_a_function_for_each_script_and_says_its_version(functions: FunctionsRedis) -> None:
    ((_, name, *rest),) = await functions._on("", "FUNCTION", "LIST", "LIBRARYNAME", "roomkeeper")
    listed = dict(zip(rest[::2], rest[1::2], strict=True))["functions"]
    found = {dict(zip(function[::2], function[1::2], strict=True))["name"] for function in listed}
    assert name == "roomkeeper"
    assert found == {f"roomkeeper_{script}" for script in (*contract.SCRIPTS, "version")}
    word, version, digest = await functions._on("", "FCALL_RO", "roomkeeper_version", 0)
    assert (word, version) == ("OK", contract.VERSION)
    assert f"'{digest}'" in contract.library()


async def test_a_call_before_the_library_is_loaded_says_so_and_works_after_loading(
    world: World, functions: FunctionsRedis
) -> None:
    await functions._on("", "FUNCTION", "DELETE", "roomkeeper")
    with pytest.raises(exceptions.ResponseError, match="Function not found"):
        await functions._call("enqueue", world.keys.prefix, ["alice", ""])
    await functions.load()
    word, kind, place = await functions.run(lua.ENQUEUE, [world.keys.queue()], ["alice", ""])
    assert (word, kind) == ("OK", "new")
    assert await world.gateway.enqueue("alice") == Queued(int(place), replay=True)
