"""Whatever bytes come, a read is a value or an error of ours: no answer of a backend can stop the operator.

The parsers and requests are found by looking for them, so a new one is tested without a line here; one that takes a
type of argument that is new needs a sample of it in `SAMPLES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import inspect
import json
import pkgutil
import typing
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit import api as sdk
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.models import Room as RoomMessage

from controller.api.failure_codes import Failure, FailureCode
from controller.api.failures_table import FAILURES
from controller.api.livekitserver import DrainType
from controller.api.match import Match
from controller.api.states import UserState
from controller.clients import redis as redis_package
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clients.livekit import LiveKitClient
from controller.clients.reading import moment_ms, place_ms
from controller.clients.redis import lua
from controller.clients.redis.client import Arguments, Redis, StreamEntry
from controller.clients.redis.commands import Command
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.inbox import Inbox, pools_with_people
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from controller.clients.redis.lua import Script
from controller.clients.redis.outbox import Outbox
from controller.clients.redis.pool import Pool
from controller.clients.redis.records import RoomRecord, parse_user
from controller.clients.redis.replies.inbox import ScanCursor
from controller.clients.redis.replies.match import WITNESS
from controller.clients.redis.replies.table import ReplyTable
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
from controller.clock import ServerClock
from controller.errors import BackendError, BackendRefused
from controller.facts.drain import DrainFacts
from controller.facts.livekit import RoomRequest, parse_mark
from controller.facts.time import from_milliseconds
from controller.triggers import signals
from controller.views.cache import ObjectCache
from tests import values as b
from tests.clients import replies
from tests.clients.connections import connection_to
from tests.clients.counting import public_methods

# Half a minute for the whole module on a quiet machine; hypothesis itself sets no limit.
often = settings(max_examples=30, deadline=None, derandomize=True)


def tables() -> dict[str, ReplyTable[Any]]:
    """Every table of reply codes, by the name of its script."""
    found = {}
    for module in pkgutil.walk_packages(redis_package.__path__, f"{redis_package.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, ReplyTable):
                found[value.script] = value
    return found


TABLES = tables()


def test_every_script_has_a_table_that_is_tested_here() -> None:
    assert set(TABLES) == {script.name for script in lua.ALL}


@pytest.mark.parametrize("script", TABLES)
@often
@given(data=st.data())
def test_a_reply_of_a_script_is_a_value_or_refused(script: str, data: st.DataObject) -> None:
    table = TABLES[script]
    code = data.draw(st.sampled_from(sorted(table.codes)) | replies.words)
    raw = [code, *data.draw(st.lists(replies.words, max_size=9))]
    with may_refuse():
        _check_times(table.parse(raw))


# The requests to Redis

KEYS = Keys("default", "calls")
SAMPLES: dict[Any, Any] = {
    str: "x",
    int: 1,
    int | None: None,
    float: 1.0,
    bool: False,
    Script: lua.WITNESS,
    Sequence[str]: ["x"],
    Sequence[str | int]: ["x"],
    Arguments: ["x"],
    tuple[str, ...]: ("x", "y"),
    Mapping[str, str]: {"x": "0-0"},
    ScanCursor: ScanCursor(),
    ClaimRequest: ClaimRequest("u", "m", "s", (Claimant("alice"),)),
    AdvanceRequest: AdvanceRequest("u", (("alice", UserState.IN_CALL),)),
    SettleRequest: SettleRequest("u", "s", ()),
    Signal: Signal("u", "alice", SignalKind.SKIP),
    Witnessed: Witnessed("participant_joined", (), "u", "alice"),
    RoomRecord: RoomRecord("rk", "rk", "active", 1, 2),
    Served: Served("1.0.0", 30.0),
    DrainFacts | None: DrainFacts("d", DrainType.GRACEFUL),
    Failure: FAILURES[FailureCode.OBJECT_INVALID],
    Command[Any]: Command(lua.WITNESS, WITNESS, [], []),
}
SPECIAL = {("refused", "why"): "over"}
"""Arguments for which the sample of their type makes no sense."""


def requests_of(kind: type) -> list[tuple[type, str]]:
    """The asynchronous public methods of a client."""
    return [(kind, name) for name in sorted(public_methods(kind))]


# It reads no answer: whatever is not a list is a lost connection, and messages are texts. It needs an event loop.
WITHOUT_ANSWER = [(Redis, "listen")]
REQUESTS = [*requests_of(Redis), *requests_of(Pool), *requests_of(Inbox), *requests_of(Outbox), *requests_of(Gateway)]


def arguments(method: Any) -> dict[str, Any]:
    """A sample for every argument that has no default."""
    hints = typing.get_type_hints(method)
    return {
        name: SPECIAL.get((method.__name__, name), SAMPLES.get(_plain(hints[name]), SAMPLES.get(hints[name])))
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty
    }


def _plain(hint: Any) -> Any:
    return Command[Any] if typing.get_origin(hint) is Command else hint


class Wire:
    """A server that answers the same to every command."""

    counts_silences = False

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    async def execute(self, *_words: str | int, block_seconds: float = 0.0) -> Any:
        """Answer; a block ends at once."""
        del block_seconds
        return self._reply

    def line(self, _key: str) -> Wire:
        """The connection."""
        return self

    reader = line

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """All keys in one group."""
        return (keys,)

    async def primaries(self) -> tuple[Wire]:
        """The one server."""
        return (self,)

    async def listener(self, _heard: object) -> Wire:
        """The connection."""
        return self

    async def close(self) -> None:
        """Do nothing."""


def a_redis(reply: Any) -> Redis:
    """A client whose server answers the same to every command."""
    redis = Redis.from_url("redis://nowhere")
    redis._choice.topology = cast("Any", Wire(reply))
    return redis


def a_client(kind: type, redis: Redis) -> Any:
    """A client of this type on `redis`."""
    pool = Pool(redis, KEYS, 0, 1)
    made: dict[type, Any] = {
        Redis: redis,
        Pool: pool,
        Inbox: Inbox(pool),
        Outbox: Outbox(pool),
        Gateway: Gateway(redis, KEYS),
    }
    return made[kind]


@pytest.mark.parametrize(
    ("kind", "name"),
    [one for one in REQUESTS if one not in WITHOUT_ANSWER],
    ids=lambda value: getattr(value, "__name__", value),
)
@often
@given(data=st.data())
def test_an_answer_of_redis_is_a_value_or_refused(kind: type, name: str, data: st.DataObject) -> None:
    codes = sorted({code for table in TABLES.values() for code in table.codes})
    scripted = st.lists(replies.words, max_size=9).flatmap(
        lambda rest: st.sampled_from(codes).map(lambda code: [code, *rest])
    )
    reply = data.draw(replies.redis_replies | scripted | st.lists(replies.words, max_size=6))

    method = getattr(a_client(kind, a_redis(reply)), name)
    with may_refuse():
        _check_times(_answer(method(**arguments(method))))


@often
@given(
    reply=replies.redis_replies | st.lists(st.text(alphabet="rk:{}default\x01callsqueue hb", max_size=30), max_size=6)
)
def test_the_search_for_pools_finds_names_or_is_refused(reply: Any) -> None:
    with may_refuse():
        _, found = _answer(pools_with_people(a_redis(reply), "default", "0", count=10))
        for namespace in found:
            Keys("default", namespace)


FIELDS = st.sampled_from(
    [
        *("claimed", "settled", "phase", "createdAt", "settledAt", "sessionID", "matchName", "room", "q:alice"),
        *("s:alice", "d:alice", "endAt", "endReason", "endInitiator", "endMessage", "endEvidence", "last:alice"),
        *("wish", "aloneMs", "aloneSince", "suspect:alice", "tokensAskedAt", "takenAt", "rejoined", "drain"),
        *("state", "since", "queuedAt", "seq", "epoch", "match"),
    ]
)
SPELLED = st.sampled_from(["1", "WAITING:inf", "WAITING:nan", "IDLE", "LOST", "IN_CALL", "WAITING"])
IN_JSON = ("event", "reason", "sid", "at", "joinedAtMs", "action", "user", "by", "via")
RECORDS = st.fixed_dictionaries(dict.fromkeys(IN_JSON, replies.json_values)).map(json.dumps)
VALUES = replies.words | SPELLED | RECORDS


@settings(max_examples=100, deadline=None, derandomize=True)
@given(fields=st.dictionaries(FIELDS | st.text(max_size=6), VALUES, max_size=8))
def test_a_hash_is_a_record_or_refused(fields: dict[str, str]) -> None:
    with may_refuse():
        _check_times(parse_ledger("u", fields))
    _check_times(parse_user("alice", fields))


@often
@given(metadata=replies.words | replies.json_values.map(lambda value: json.dumps({"roomkeeper.dev": value})))
def test_the_metadata_of_any_room_has_a_mark_or_none(metadata: str) -> None:
    parse_mark(metadata)


@often
@given(fields=st.dictionaries(st.sampled_from(["user", "type", "match", "by", "reason"]), replies.words, max_size=5))
def test_an_entry_of_signals_is_a_signal_or_skipped(fields: dict[str, str]) -> None:
    signals._parse(StreamEntry("signals", "1-0", fields))


@often
@given(
    header=st.text(max_size=20)
    | st.sampled_from(["Mon, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 +9999"])
)
def test_any_date_of_an_answer_is_a_time_or_ignored(header: str) -> None:
    clock = ServerClock()
    clock.observe(header, 1.0, 1.1)
    clock.now()


@often
@given(text=replies.words)
def test_a_time_that_is_read_is_one_that_windows_can_be_added_to(text: str) -> None:
    for read in (moment_ms, place_ms):
        try:
            value = read(text)
        except ValueError:
            continue
        assert from_milliseconds(value) + timedelta(days=60)


# LiveKit and Kubernetes

STATUSES = st.sampled_from([200, 200, 200, 204, 301, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503])


class Proxy:
    """Any program that answers in place of a backend."""

    def __init__(self) -> None:
        self.status, self.body, self.kind = 200, b"", "application/json"

    async def __call__(self, _request: web.Request) -> web.Response:
        """Answer as the test says."""
        return web.Response(status=self.status, body=self.body, headers={"Content-Type": self.kind})


@contextmanager
def serving(proxy: Proxy) -> Iterator[tuple[asyncio.Runner, aiohttp.ClientSession, str]]:
    """Serve `proxy` in an event loop of its own."""
    with asyncio.Runner() as runner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", proxy.__call__)
        server = TestServer(app)
        runner.run(server.start_server())

        async def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession()

        http = runner.run(session())
        try:
            yield runner, http, f"http://{server.host}:{server.port}"
        finally:
            runner.run(http.close())
            runner.run(server.close())


LIVEKIT: dict[str, tuple[Any, ...]] = {
    "create_room": (RoomRequest("rk", 2, 30, 20, {}, b.a_mark()),),
    "list_rooms": (),
    "metadata_of": ("rk",),
    "delete_room": ("rk",),
    "list_participants": ("rk",),
    "remove_participant": ("rk", "alice"),
    "probe": ("rk", "alice"),
    "has_nodes_that_answer": (),
    "update_metadata": ("rk", {}),
    "send_data": ("rk", "topic", {}),
}
MATCHES = Resource("roomkeeper.dev", "v1alpha1", "matches")
KUBERNETES: dict[str, tuple[Any, ...]] = {
    "get": (MATCHES, "calls", "m"),
    "read": ("/apis/roomkeeper.dev",),
    "served": ("roomkeeper.dev/v1alpha1",),
    "would_replace": (MATCHES, "calls", "m", {}),
    "pages": (MATCHES,),
    "create": (MATCHES, "calls", {}),
    "replace": (MATCHES, "calls", "m", {}),
    "merge_patch": (MATCHES, "calls", "m", {}, "1"),
    "json_patch": (MATCHES, "calls", "m", []),
    "delete": (MATCHES, "calls", "m", "u"),
}
participants = st.builds(
    ParticipantInfo,
    identity=st.text(max_size=5).filter(lambda text: text.isprintable()),
    state=st.integers(-(2**31), 2**31 - 1),
    kind=st.integers(-(2**31), 2**31 - 1),
    joined_at=st.integers(-(2**63), 2**63 - 1),
    joined_at_ms=st.integers(-(2**63), 2**63 - 1),
).map(lambda one: sdk.ListParticipantsResponse(participants=[one]).SerializeToString())
livekit_rooms = st.builds(
    RoomMessage, name=st.just("rk"), num_participants=st.integers(0, 2**32 - 1), metadata=replies.json_texts
).map(lambda one: sdk.ListRoomsResponse(rooms=[one]).SerializeToString())


def test_the_requests_of_livekit_and_kubernetes_are_all_here() -> None:
    assert set(LIVEKIT) == public_methods(LiveKitClient)
    # One of them sends nothing.
    assert {*KUBERNETES, "reconnect"} == public_methods(KubernetesClient)


@pytest.mark.parametrize("name", LIVEKIT)
def test_an_answer_of_livekit_is_a_value_or_an_error_of_ours(name: str) -> None:
    proxy = Proxy()
    with serving(proxy) as (runner, http, url):
        client = LiveKitClient(http, url, "key", "s" * 32, SimpleNamespace(now=lambda: b.at(9)))

        @often
        @given(status=STATUSES, body=replies.bodies | participants | livekit_rooms)
        def ask(status: int, body: bytes) -> None:
            proxy.status, proxy.body = status, body
            with may_refuse(BackendError):
                _check_times(runner.run(getattr(client, name)(*LIVEKIT[name])))

        ask()


@pytest.mark.parametrize("name", KUBERNETES)
def test_an_answer_of_the_api_server_is_an_object_or_an_error_of_ours(name: str) -> None:
    proxy = Proxy()
    with serving(proxy) as (runner, _, url), contextlib.ExitStack() as stack:
        opened = connection_to(url)
        client = KubernetesClient(runner.run(opened.__aenter__()), ServerClock())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))

        async def send() -> list[Any]:
            answer = getattr(client, name)(*KUBERNETES[name])
            return [await anext(answer)] if inspect.isasyncgen(answer) else [await answer]

        @often
        @given(status=STATUSES, body=replies.bodies | bodies_of_kubernetes)
        def ask(status: int, body: bytes) -> None:
            proxy.status, proxy.body = status, body
            with may_refuse(BackendError):
                (answer,) = runner.run(send())
                assert answer is None or isinstance(answer, dict)

        ask()


METADATA = ("namespace", "deletionTimestamp", "finalizers", "labels", "ownerReferences", "continue")
metadata = replies.json_values | st.fixed_dictionaries(
    {"name": st.just("m"), "uid": st.sampled_from(["u1", "u2"]), "resourceVersion": st.sampled_from("123456x")},
    optional=dict.fromkeys(METADATA, replies.json_values),
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["Match", "Status"]) | replies.json_values,
        "spec": replies.json_values,
        "status": replies.json_values,
        "items": replies.json_values,
        "reason": st.just("NotFound") | replies.json_values,
        "details": st.just({"name": "m"}) | replies.json_values,
        "message": replies.json_values,
        "metadata": metadata,
    },
)
bodies_of_kubernetes = objects.map(json.dumps).map(str.encode)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(offered=st.lists(objects | st.just(b.a_match().manifest()), max_size=6))
def test_the_cache_takes_what_the_watch_brings(offered: list[Any]) -> None:
    cache = ObjectCache(Match)
    for one in offered:
        cache.offer(one)
        for name in cache.names():
            assert cache.get(*name) is not None
    for one in offered:
        cache.remove(one)


# Helpers


def _answer(request: Coroutine[Any, Any, Any]) -> Any:
    """The result of a request that never waits, without an event loop for each."""
    try:
        request.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("the request waits")


@contextmanager
def may_refuse(kind: type[BackendError] = BackendRefused) -> Iterator[None]:
    """Accept an error of ours, if its sentence fits into a status."""
    try:
        yield
    except kind as error:
        _check_sentence(error)


def _check_sentence(error: BackendError) -> None:
    assert len(error.sentence) < 2000


def _check_times(value: Any) -> None:
    """Every time in a value can be computed with."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            if field.name.endswith("_ms") and isinstance(part, int):
                assert from_milliseconds(part) + timedelta(days=60)
            _check_times(part)
    elif isinstance(value, tuple | list):
        for part in value:
            _check_times(part)
    elif isinstance(value, dict):
        _check_times(list(value.values()))
