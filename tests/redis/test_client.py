"""The connection to a server in trouble: every request ends soon, and no error contains a secret."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
import redis as redis_py

from controller.clients.redis import client as client_module
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.errors import error_word, translate
from controller.clients.redis.gateway import Unserved
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from controller.clients.redis.lua import Script
from controller.clients.redis.records import parse_user
from controller.clients.redis.replies.match import CLAIM, ClaimOk
from controller.clients.redis.retention import Retention
from controller.errors import BackendError, BackendRefused, BackendUnavailable, Forbidden
from tests.clients.counting import counted_since, errors_counted, public_methods, requests_counted
from tests.redis.servers import Server, running
from tests.redis.world import World
from tests.support.waiting import eventually, patience

COUNT = Script("count", "return {tostring(redis.call('INCR', KEYS[1]))}", "0" * 40)
CANARY = "canary-c0ffee"


async def _counted(world: World) -> list[str]:
    """Count once more; for a moment the breaker may hold the request back."""
    try:
        return await world.redis.run(COUNT, [f"{world.keys.prefix}count"], [])
    except BackendUnavailable as error:
        raise AssertionError(f"not sent: {error}") from None


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that the tests of this module may freeze, fill and stop."""
    with running(request.param) as server:
        yield server


@pytest.fixture
async def world(own: Server) -> AsyncIterator[World]:
    """An empty pool on this server."""
    client = Redis.from_url(own.url)
    world = await World.new(client, f"client-{time.monotonic_ns()}")
    yield world
    await client.close()


def admin(server: Server, *words: str) -> None:
    with redis_py.Redis.from_url(server.url) as client:
        client.execute_command(*words)


async def test_a_server_that_hangs_is_given_up_soon_and_a_lost_reply_runs_at_most_three_times(
    own: Server, world: World
) -> None:
    os.kill(own.pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(BackendUnavailable, match="no answer in time") as caught:
            await world.redis.run(COUNT, [f"{world.keys.prefix}count"], [])
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert 1 < time.monotonic() - started < 4
    assert caught.value.may_have_run
    assert caught.value.retryable
    # The script is not known to the server, so each attempt that reaches it ends at NOSCRIPT; now it is run once.
    assert await eventually(partial(_counted, world)) == ["1"]


async def test_a_claim_whose_reply_was_lost_is_a_replay(own: Server, world: World) -> None:
    await world.claim("m0", "yara", "zoe")  # the server knows the script
    os.kill(own.pid, signal.SIGSTOP)
    task = asyncio.create_task(world.claim("m1", "alice", "bob"))
    await asyncio.sleep(1.3)
    os.kill(own.pid, signal.SIGCONT)
    reply = await task
    assert isinstance(reply, ClaimOk)
    assert reply.replay
    assert (await world.user("alice")).epoch == 1


async def test_a_server_that_is_away_is_unavailable_and_found_again(own: Server, world: World) -> None:
    await world.redis.ping()
    before = await world.redis.run_id()
    own.stop()
    try:
        with pytest.raises(BackendUnavailable, match="the connection failed") as caught:
            await world.enqueue("alice")
        assert caught.value.may_have_run
    finally:
        own.start()
    # Another process: it knows no script, and lost everything.
    assert await world.redis.run_id() != before
    assert await world.gateway.enqueue("alice") == Unserved()


async def test_a_connection_that_the_server_closed_while_it_was_idle_costs_no_request(own: Server) -> None:
    """As with `timeout 300` in the server's configuration, or a proxy that drops what is idle."""
    redis = Redis.from_url(own.url)
    try:
        world = await World.new(redis, "calls")
        for uid in ("m1", "m2"):
            with redis_py.Redis.from_url(own.url) as administrator:
                assert cast("int", administrator.execute_command("CLIENT", "KILL", "TYPE", "normal")) >= 1
            assert isinstance(await world.claim(uid, f"alice-{uid}", f"bob-{uid}"), ClaimOk)
    finally:
        await redis.close()


async def test_every_script_survives_that_the_server_forgot_it(world: World) -> None:
    await world.raw("SCRIPT", "FLUSH")
    for script in lua.ALL:
        if script in {lua.ENQUEUE, lua.LEAVE, lua.BEAT, lua.RESERVE, lua.RELEASE}:
            assert (await world.redis.run(script, [world.keys.queue()], []))[0] == "INVALID"
    assert isinstance(await world.claim("m1", "alice", "bob"), ClaimOk)


async def test_a_full_server_says_not_now_and_nothing_is_written(own: Server, world: World) -> None:
    await world.enqueue("alice")
    before = await world.snapshot()
    admin(own, "CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(BackendUnavailable, match="OOM") as caught:
            await world.claim("m1", "alice", "bob")
    finally:
        admin(own, "CONFIG", "SET", "maxmemory", "0")
    assert not caught.value.may_have_run
    assert await world.snapshot() == before


async def test_a_replica_says_not_now(own: Server, world: World) -> None:
    await world.enqueue("alice")
    admin(own, "REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(BackendUnavailable, match="READONLY") as caught:
            await world.claim("m1", "alice", "bob")
    finally:
        admin(own, "REPLICAOF", "NO", "ONE")
    assert not caught.value.may_have_run


async def test_wrong_credentials_are_forbidden_at_once_and_not_shown(own: Server, world: World) -> None:
    admin(own, "CONFIG", "SET", "requirepass", "right")
    client = Redis.from_url(own.url.replace("unix://", f"unix://:{CANARY}@"))
    unnamed = Redis.from_url(own.url)
    before = requests_counted("Redis")
    try:
        for stranger in (client, unnamed):
            with pytest.raises(Forbidden) as caught:
                await stranger.ping()
            assert not caught.value.retryable
            assert not caught.value.may_have_run
            assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert counted_since(before, "Redis") == {"PING": 2}, "one attempt each"
    finally:
        await client.close()
        await unnamed.close()
        with redis_py.Redis.from_url(own.url, password="right") as right:
            right.config_set("requirepass", "")


async def test_a_key_of_another_type_is_refused_with_the_line_and_without_arguments(world: World) -> None:
    await world.raw("SET", world.keys.user(CANARY), "a string")
    with pytest.raises(BackendRefused, match=r"the server refuses it \((WRONGTYPE|ERR)\) at line \d+") as caught:
        await world.claim("m1", CANARY, "bob")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert "match:m1" not in (await world.snapshot()).values


async def test_the_part_of_a_command_that_the_server_repeats_is_not_shown(world: World) -> None:
    with pytest.raises(redis_py.ResponseError) as caught:
        await world.raw("NOSUCHCOMMAND", CANARY)
    assert CANARY in str(caught.value)
    assert CANARY not in str(translate(caught.value, "NOSUCHCOMMAND"))


@pytest.mark.parametrize(
    ("error", "kind", "may_have_run", "retryable"),
    [
        (redis_py.ConnectionError("reset"), BackendUnavailable, True, True),
        (redis_py.TimeoutError("slow"), BackendUnavailable, True, True),
        (OSError("no such host"), BackendUnavailable, True, True),
        (redis_py.exceptions.BusyLoadingError("loading", status_code="LOADING"), BackendUnavailable, False, True),
        (redis_py.exceptions.ReadOnlyError("x", status_code="READONLY"), BackendUnavailable, False, True),
        (redis_py.ResponseError("BUSY Redis is busy running a script"), BackendUnavailable, False, True),
        (redis_py.ResponseError("MISCONF errors writing to the AOF"), BackendUnavailable, False, True),
        (redis_py.AuthenticationError("x", status_code="WRONGPASS"), Forbidden, False, False),
        (redis_py.AuthenticationError("Authentication Required."), Forbidden, False, False),
        (redis_py.ResponseError("NOPERM this user has no permissions"), Forbidden, False, False),
        (redis_py.ResponseError("DENIED Redis is running in protected mode because …"), Forbidden, False, False),
        (redis_py.ResponseError("ERR max number of clients reached"), BackendUnavailable, False, True),
        (redis_py.ResponseError("ERR unknown command 'x'"), BackendRefused, False, False),
        (redis_py.DataError("not encodable"), BackendRefused, False, False),
    ],
)
def test_each_error_of_the_library_has_its_meaning(
    error: Exception, kind: type[BackendError], may_have_run: bool, retryable: bool
) -> None:
    translated = translate(error, "claim")
    assert type(translated) is kind
    assert (translated.may_have_run, translated.retryable) == (may_have_run, retryable)
    assert translated.backend == "Redis"
    assert translated.operation == "claim"


async def test_a_reader_waits_for_an_entry_and_gives_up_in_time(world: World) -> None:
    stream = world.keys.signals()
    started = time.monotonic()
    assert await world.redis.read_streams({stream: "$"}, block_seconds=1.2) == ()
    assert 1.1 < time.monotonic() - started < 2
    reading = asyncio.create_task(world.redis.read_streams({stream: "$"}, block_seconds=5))
    await asyncio.sleep(0.05)
    entry_id = await world.redis.append(stream, {"type": "skip", "user": "alice"}, max_entries=100)
    (entry,) = await reading
    assert (entry.stream, entry.id, entry.fields) == (stream, entry_id, {"type": "skip", "user": "alice"})


async def test_the_end_of_a_stream_is_where_reading_starts_without_a_clock(world: World) -> None:
    stream = world.keys.signals()
    assert await world.redis.last_id(stream) == "0-0"
    await world.redis.append(stream, {"n": "1"}, max_entries=100)
    end = await world.redis.last_id(stream)
    await world.redis.append(stream, {"n": "2"}, max_entries=100)
    assert [entry.fields for entry in await world.redis.read_streams({stream: end}, block_seconds=1)] == [{"n": "2"}]


async def test_a_reader_may_not_wait_for_longer_than_its_socket(world: World) -> None:
    for block_seconds in (-1, 31):
        with pytest.raises(ValueError, match="block_seconds"):
            await world.redis.read_streams({world.keys.signals(): "$"}, block_seconds=block_seconds)


async def test_a_reader_notices_soon_that_the_server_hangs(own: Server, world: World) -> None:
    started = time.monotonic()
    os.kill(own.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BackendUnavailable, match="no answer in time"):
            await world.redis.read_streams({world.keys.signals(): "$"}, block_seconds=0.5)
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert time.monotonic() - started < 5


async def test_a_reader_that_is_cancelled_as_its_answer_comes_ends_all_the_same(own: Server) -> None:
    clients = [Redis.from_url(own.url) for _ in range(20)]

    async def read_for_ever(client: Redis) -> None:
        while True:
            await client.read_streams({"stream": "$"}, block_seconds=1)

    readers = [asyncio.create_task(read_for_ever(client)) for client in clients]
    await asyncio.sleep(0.1)
    os.kill(own.pid, signal.SIGSTOP)
    await asyncio.sleep(1.2)  # by now all of them are due to be answered at once
    os.kill(own.pid, signal.SIGCONT)
    for reader in readers:
        await asyncio.sleep(random.random() * 0.0005)
        reader.cancel()
    _, stubborn = await asyncio.wait(readers, timeout=5)
    for reader in stubborn:
        reader.cancel()
    assert not stubborn
    for client in clients:
        await client.close()


async def test_a_listener_hears_every_message_until_its_connection_is_lost(
    own: Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_LISTEN_SECONDS", 0.05)
    heard: list[str] = []
    listening = asyncio.create_task(world.redis.listen("news", heard.append, alive=lambda: None))

    async def publish(message: str) -> None:
        assert await world.raw("PUBLISH", "news", message) == 1

    for message in ("first", "second"):
        await eventually(partial(publish, message))
    await world.raw("CLIENT", "KILL", "TYPE", "pubsub")
    with pytest.raises(BackendUnavailable, match="the connection failed"):
        await asyncio.wait_for(listening, patience())
    assert heard == ["first", "second"]


async def test_a_cancelled_call_does_not_mix_up_the_answers(world: World) -> None:
    reading = asyncio.create_task(world.redis.read_streams({world.keys.signals(): "$"}, block_seconds=5))
    claims = [asyncio.create_task(world.claim(f"m{n}", f"a{n}", f"b{n}")) for n in range(20)]
    await asyncio.sleep(0.002)
    for task in (reading, *claims[::2]):
        task.cancel()
    await asyncio.gather(reading, *claims, return_exceptions=True)
    for n in range(20):
        reply = await world.claim(f"m{n}", f"a{n}", f"b{n}")
        assert isinstance(reply, ClaimOk)
        assert [user.id for user in reply.users] == [f"a{n}", f"b{n}"]


def test_keys_are_those_of_the_contract() -> None:
    keys = Keys("default", "calls")
    assert keys.prefix == "rk:{default:calls}:"
    assert keys.user("alice") == "rk:{default:calls}:user:alice"
    assert keys.fence(3) == "rk-operator:{default:calls}:fence:3"
    assert keys.webhooks(0) == "rk-operator:{default:calls}:webhooks:0"


@pytest.mark.parametrize(("cluster", "namespace"), [("a}b", "n"), ("a:b", "n"), ("", "n"), ("a", "{n}"), ("a", "n\n")])
def test_a_prefix_that_would_not_keep_pools_apart_cannot_be_made(cluster: str, namespace: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a Redis key"):
        Keys(cluster, namespace)


def test_ledgers_are_kept_for_a_day_at_least() -> None:
    with pytest.raises(ValueError, match="86400"):
        Retention(settled_match_seconds=3600)
    assert replace(Retention(), settled_match_seconds=100_000).settled_match_seconds == 100_000


def test_a_value_that_is_missing_or_unreadable_reads_as_none() -> None:
    assert parse_ledger("m1", {}) is None
    assert parse_user("alice", {}) is None
    assert parse_user("alice", {"state": "DANCING"}) is None
    assert parse_user("alice", {"state": "IDLE", "since": "yesterday"}) is None


def test_an_answer_that_is_not_known_is_an_error_that_shows_its_first_word_only() -> None:
    with pytest.raises(BackendRefused, match="'HELLO'") as caught:
        CLAIM.parse(["HELLO", CANARY])
    assert CANARY not in str(caught.value)


async def in_time(listening: Awaitable[None]) -> None:
    """Listen for a moment."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(listening, 0.3)


REQUESTS: dict[str, tuple[Callable[[Redis, str], Awaitable[object]], str]] = {
    "run": (lambda redis, key: redis.run(COUNT, [key], []), "count"),
    "ping": (lambda redis, _: redis.ping(), "PING"),
    "info": (lambda redis, _: redis.info(), "INFO"),
    "run_id": (lambda redis, _: redis.run_id(), "INFO"),
    "scan": (lambda redis, key: redis.scan(key, "0", count=10), "SCAN"),
    "hash": (lambda redis, key: redis.hash(key), "HGETALL"),
    "field": (lambda redis, key: redis.field(key, "name"), "HGET"),
    "scored": (lambda redis, key: redis.scored(key, limit=1), "ZRANGEBYSCORE"),
    "text": (lambda redis, key: redis.text(key), "GET"),
    "texts": (lambda redis, key: redis.texts([key]), "MGET"),
    "exists": (lambda redis, key: redis.exists(key), "EXISTS"),
    "delete": (lambda redis, key: redis.delete(key), "DEL"),
    "put": (lambda redis, key: redis.put(key, "value"), "SET"),
    "append": (lambda redis, key: redis.append(key, {"n": "1"}, max_entries=1), "XADD"),
    "last_id": (lambda redis, key: redis.last_id(key), "XREVRANGE"),
    "ask": (lambda redis, _: redis.ask(), "PING"),
    "listen": (lambda redis, key: in_time(redis.listen(key, lambda _: None, alive=lambda: None)), "SUBSCRIBE"),
    "read_streams": (lambda redis, key: redis.read_streams({key: "0"}, block_seconds=0.001), "XREAD"),
}


def test_the_table_of_requests_has_every_method_of_the_client() -> None:
    assert set(REQUESTS) == public_methods(Redis)


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_method_is_counted_when_it_is_answered_and_when_it_is_not(
    own: Server, world: World, name: str
) -> None:
    request, operation = REQUESTS[name]
    before, errors = requests_counted("Redis"), errors_counted("Redis", operation, "NOAUTH")
    await request(world.redis, f"counted-{name}-{time.monotonic_ns()}")
    admin(own, "CONFIG", "SET", "requirepass", "right")
    stranger = Redis.from_url(own.url)
    try:
        with pytest.raises(Forbidden):
            await request(stranger, "key")
    finally:
        await stranger.close()
        with redis_py.Redis.from_url(own.url, password="right") as right:
            right.config_set("requirepass", "")
    assert counted_since(before, "Redis") == {operation: 2}
    assert errors_counted("Redis", operation, "NOAUTH") == errors + 1


async def test_every_attempt_that_a_retry_makes_is_counted(own: Server, world: World) -> None:
    before, errors = requests_counted("Redis"), errors_counted("Redis", "SET", "READONLY")
    admin(own, "REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(BackendUnavailable):
            await world.redis.put("key", "value")
    finally:
        admin(own, "REPLICAOF", "NO", "ONE")
    assert counted_since(before, "Redis") == {"SET": 3}
    assert errors_counted("Redis", "SET", "READONLY") == errors + 3


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ERR Error running script (call to f_1): @user_script: 12: -OOM command not allowed", "OOM"),
        ("ERR Error running script (call to f_1): @user_script:12: READONLY You can't write", "READONLY"),
        ("ERR Error running script (call to f_1): @user_script:12: user_script:12: attempt to call nil", "ERR"),
        ("OOM command not allowed", "OOM"),
    ],
)
def test_the_error_word_inside_a_script_counts_with_and_without_a_dash(text: str, word: str) -> None:
    assert error_word(redis_py.ResponseError(text)) == word


def test_an_unknown_error_word_makes_no_series_of_its_own() -> None:
    assert translate(redis_py.ResponseError("SURPRISE from a module"), "claim").code == "other"
