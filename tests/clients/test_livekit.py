"""The LiveKit client against a server of our own: the requests that it sends, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import jwt
import pytest
import time_machine
from aiohttp import web
from aiohttp.test_utils import TestServer
from jwt.types import Options
from livekit import api as sdk
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.models import Room as RoomMessage

from controller.clients.breaker import Ticket
from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_rows import RoomRows
from controller.clients.request import Limits
from controller.errors import BackendError, BackendRefused, BackendUnavailable, Forbidden, Invalid, NotFound, Overloaded
from controller.facts.livekit import UNKNOWN_WORD, RoomRequest, parse_mark
from controller.rules.room import strangers
from tests import values as b
from tests.clients.counting import counted_since, errors_counted, public_methods, requests_counted

KEY, SECRET = "APIkey", "a-secret-of-more-than-thirty-two-characters"
MARK = json.dumps({"topic": "go", "roomkeeper.dev": b.a_mark().to_json()})
NOW = SimpleNamespace(now=lambda: b.at(9))
REQUEST = RoomRequest("rk-1", 2, 30, 20, {"topic": "go"}, b.a_mark())


@dataclass
class Server:
    """Gives the answers that a test has set, and remembers the requests."""

    status: int = 200
    answer: bytes = b""
    error: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""
    hangs: bool = False
    asked: list[tuple[str, bytes, str]] = field(default_factory=list)

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append((request.path.rpartition("/")[2], await request.read(), token))
        if self.hangs:
            await asyncio.sleep(30)
        if self.raw:
            return web.Response(body=self.raw, status=self.status, content_type="application/json")
        if self.status != 200:
            return web.json_response(self.error, status=self.status)
        return web.Response(body=self.answer, content_type="application/protobuf")

    def claims(self) -> list[dict[str, Any]]:
        """The claims of the token of each request."""
        as_it_is: Options = {"verify_exp": False, "verify_nbf": False}
        return [jwt.decode(token, SECRET, algorithms=["HS256"], options=as_it_is) for _, _, token in self.asked]


@pytest.fixture
def server() -> Server:
    return Server()


@asynccontextmanager
async def serving(server: Server, limits: Limits | None = None) -> AsyncIterator[LiveKitClient]:
    """Serve `server`; give the block a client of it."""
    app = web.Application()
    app.router.add_post("/twirp/livekit.RoomService/{method}", server.__call__)
    async with TestServer(app, shutdown_timeout=0.1) as running, aiohttp.ClientSession() as session:
        yield LiveKitClient(session, f"http://{running.host}:{running.port}", KEY, SECRET, NOW, limits=limits)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[LiveKitClient]:
    async with serving(server) as one:
        yield one


async def test_a_room_is_created_with_our_mark_beside_the_metadata_of_its_owner(
    client: LiveKitClient, server: Server
) -> None:
    server.answer = RoomMessage(name="rk-1", sid="RM_1", metadata=MARK, turn_password="s3cret").SerializeToString()
    room = await client.create_room(REQUEST)
    assert (room.name, room.sid, room.mark) == ("rk-1", "RM_1", b.a_mark())
    assert "s3cret" not in repr(room)
    method, body, _ = server.asked[0]
    sent = sdk.CreateRoomRequest.FromString(body)
    assert (method, sent.name, sent.max_participants) == ("CreateRoom", "rk-1", 2)
    assert (sent.empty_timeout, sent.departure_timeout) == (30, 20)
    assert json.loads(sent.metadata) == json.loads(MARK)


async def test_rooms_are_listed_with_their_marks(client: LiveKitClient, server: Server) -> None:
    rooms = [RoomMessage(name="a", sid="RM_1", num_participants=2, metadata=MARK), RoomMessage(name="b", metadata="x")]
    server.answer = sdk.ListRoomsResponse(rooms=rooms).SerializeToString()
    first, second = await client.list_rooms(("a", "b"))
    assert (first.name, first.num_participants, first.mark) == ("a", 2, b.a_mark())
    assert second.mark is None
    assert list(sdk.ListRoomsRequest.FromString(server.asked[0][1]).names) == ["a", "b"]


async def test_a_room_that_did_not_change_between_two_lists_is_the_same_and_one_that_did_is_new(
    client: LiveKitClient, server: Server
) -> None:
    def listed(*rooms: RoomMessage) -> None:
        server.answer = sdk.ListRoomsResponse(rooms=rooms).SerializeToString()

    many = [RoomMessage(name=f"room-{n}", sid=f"RM_{n}", num_participants=1, metadata=MARK) for n in range(1200)]
    listed(*many)
    before = await client.list_rooms()
    assert [room.name for room in before] == [message.name for message in many]
    many[1].num_participants = 2
    many[2].metadata = "of another service"
    many[3].sid = "RM_new"
    listed(*many)
    after = await client.list_rooms()
    assert [n for n in range(1200) if after[n] is not before[n]] == [1, 2, 3]
    assert (after[1].num_participants, after[1].mark, after[2].mark) == (2, b.a_mark(), None)
    assert (after[3].sid, after[3].mark) == ("RM_new", b.a_mark())


async def test_a_list_with_a_row_that_is_no_room_is_refused_so_that_the_room_does_not_count_as_gone(
    client: LiveKitClient, server: Server
) -> None:
    server.answer = RoomRows(rows=[RoomMessage(name="a").SerializeToString(), b"\xff"]).SerializeToString()
    with pytest.raises(BackendRefused, match="cannot be read"):
        await client.list_rooms()


async def test_people_are_listed_with_state_and_kind(client: LiveKitClient, server: Server) -> None:
    people = [
        ParticipantInfo(identity="alice", sid="PA_1", state=ParticipantInfo.ACTIVE, joined_at_ms=1500, joined_at=1),
        ParticipantInfo(identity="bob", state=ParticipantInfo.JOINED, joined_at=2),
        ParticipantInfo(identity="rec", state=ParticipantInfo.ACTIVE, kind=ParticipantInfo.EGRESS),
    ]
    server.answer = sdk.ListParticipantsResponse(participants=people).SerializeToString()
    alice, bob, recorder = await client.list_participants("rk-1")
    assert (alice.identity, alice.sid, alice.is_active, alice.joined_at_ms) == ("alice", "PA_1", True, 1500)
    assert (bob.state, bob.is_active, bob.joined_at_ms) == ("JOINED", False, 2000)
    assert (recorder.kind, recorder.is_active) == ("EGRESS", True)


async def test_the_token_of_a_call_allows_no_more_than_the_call(client: LiveKitClient, server: Server) -> None:
    await client.list_rooms()
    await client.delete_room("rk-1")
    await client.list_participants("rk-1")
    await client.remove_participant("rk-1", "alice")
    powers = {"roomCreate", "roomList", "roomAdmin", "roomJoin", "roomRecord", "ingressAdmin", "hidden"}
    used = [
        {name: value for name, value in claims["video"].items() if name in powers | {"room"}}
        for claims in server.claims()
    ]
    whole_server, one_room = {"roomCreate": True, "roomList": True}, {"roomAdmin": True, "room": "rk-1"}
    assert used == [whole_server, whole_server, one_room, one_room]


async def test_one_token_serves_many_calls(client: LiveKitClient, server: Server) -> None:
    for _ in range(3):
        await client.list_rooms()
    assert len({token for _, _, token in server.asked}) == 1


async def test_tokens_are_good_from_now_on_by_the_clock_that_is_given(client: LiveKitClient, server: Server) -> None:
    await client.list_rooms()
    await client.list_participants("rk-1")
    now = b.ms(9) // 1000
    assert [(claims["iss"], claims["nbf"], claims["exp"]) for claims in server.claims()] == [(KEY, now, now + 600)] * 2


async def test_a_token_that_livekit_refuses_is_not_used_again(
    client: LiveKitClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 401
    with pytest.raises(Forbidden):
        await client.list_rooms()
    server.status = 200
    monkeypatch.setattr(NOW, "now", lambda: b.at(1000))
    await client.list_rooms()
    refused, taken = server.claims()
    assert taken["nbf"] - refused["nbf"] == 991


async def test_metadata_is_replaced(client: LiveKitClient, server: Server) -> None:
    server.answer = RoomMessage(name="rk-1").SerializeToString()
    await client.update_metadata("rk-1", {"a": "1"})
    sent = sdk.UpdateRoomMetadataRequest.FromString(server.asked[0][1])
    assert (sent.room, json.loads(sent.metadata)) == ("rk-1", {"a": "1"})


ERRORS: list[tuple[int, type[BackendError], bool, bool]] = [
    (400, Invalid, False, False),
    (401, Forbidden, True, False),
    (403, Forbidden, True, False),
    (404, BackendUnavailable, True, False),
    (412, BackendRefused, False, False),
    (429, Overloaded, True, True),
    (500, Overloaded, True, True),
    (503, Overloaded, True, True),
]


@pytest.mark.parametrize(("status", "kind", "retryable", "may_have_run"), ERRORS)
async def test_a_refusal_becomes_one_of_ours_and_repeats_no_secret(
    client: LiveKitClient, server: Server, status: int, kind: type[BackendError], retryable: bool, may_have_run: bool
) -> None:
    server.status, server.error = status, {"code": "some_code", "msg": "invalid token: eyJhbGci.canary"}
    with pytest.raises(BackendError) as caught:
        await client.delete_room("rk-1")
    error = caught.value
    assert type(error) is kind
    assert (error.retryable, error.may_have_run, error.operation) == (retryable, may_have_run, "DeleteRoom")
    assert "canary" not in f"{error} {error.message} {error.__cause__!r}"
    assert error.__suppress_context__


async def test_only_livekit_itself_says_that_a_room_does_not_exist(client: LiveKitClient, server: Server) -> None:
    """A proxy and a wrong path answer 404 as well."""
    server.status, server.error = 404, {"code": "not_found", "msg": "requested room does not exist"}
    with pytest.raises(NotFound):
        await client.delete_room("rk-1")
    server.error = {"code": "bad_route", "msg": "no handler"}
    with pytest.raises(BackendUnavailable, match="is the URL right"):
        await client.delete_room("rk-1")


async def test_people_of_a_new_kind_and_state_are_in_the_room_and_cost_no_others(
    client: LiveKitClient, server: Server
) -> None:
    people = [
        # Words that this version of the SDK does not have.
        ParticipantInfo(identity="new", state=cast("Any", 77), kind=cast("Any", 99), joined_at_ms=2**63 - 1),
        ParticipantInfo(identity="alice", state=ParticipantInfo.ACTIVE),
    ]
    server.answer = sdk.ListParticipantsResponse(participants=people).SerializeToString()
    new, alice = await client.list_participants("rk-1")
    assert (new.kind, new.state, new.is_active, alice.is_active) == (UNKNOWN_WORD, UNKNOWN_WORD, True, True)
    room = b.a_room(allowed_identities=["alice"])
    assert strangers(room, b.room_seen(livekit_room=b.a_livekit_room(), people=(new, alice))) == ()


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"no"', b"<html>"])
async def test_a_refusal_that_is_no_object_is_an_error_of_ours(
    client: LiveKitClient, server: Server, body: bytes
) -> None:
    server.status, server.raw = 500, body
    with pytest.raises(BackendUnavailable):
        await client.list_rooms()


async def test_a_server_that_hangs_is_given_up(server: Server) -> None:
    server.hangs = True
    async with serving(server, Limits(deadline_seconds=0.05, slow_seconds=0.01)) as client:
        with pytest.raises(
            BackendUnavailable, match=r"no answer within 0\.05 s; .* ROOMKEEPER_LIVEKIT_TIMEOUT_SECONDS"
        ) as caught:
            await client.list_rooms()
    assert caught.value.may_have_run
    assert caught.value.code == "timeout"


async def test_no_server_at_all(unused_tcp_port: int) -> None:
    async with aiohttp.ClientSession() as session:
        client = LiveKitClient(session, f"http://127.0.0.1:{unused_tcp_port}", KEY, SECRET, NOW)
        with pytest.raises(BackendUnavailable, match="no answer from LiveKit"):
            await client.list_rooms()


@pytest.mark.parametrize(
    "metadata",
    ["", "text", "{}", "[]", '{"roomkeeper.dev": 7}', '{"roomkeeper.dev": {"cluster": "default"}}', '"roomkeeper.dev"'],
)
def test_metadata_that_cannot_be_read_as_our_mark_has_no_mark(metadata: str) -> None:
    assert parse_mark(metadata) is None


def test_a_mark_reads_back_the_same() -> None:
    assert parse_mark(MARK) == b.a_mark()


async def test_a_probe_changes_nothing_and_says_whether_a_node_answers(client: LiveKitClient, server: Server) -> None:
    server.answer = ParticipantInfo(sid="PA_1", identity="alice", metadata="theirs").SerializeToString()
    assert await client.probe("rk-1", "alice") == "PA_1"
    method, body, _ = server.asked[0]
    assert method == "UpdateParticipant"
    assert sdk.UpdateParticipantRequest.FromString(body) == sdk.UpdateParticipantRequest(room="rk-1", identity="alice")
    assert server.claims()[0]["video"] == {"roomAdmin": True, "room": "rk-1"}
    server.status, server.error = 503, {"code": "unavailable", "msg": "twirp error unknown: no response from servers"}
    assert await client.probe("rk-1", "alice") is None
    assert not await client.has_nodes_that_answer()


async def test_a_node_that_does_not_answer_is_no_outage_of_livekit(client: LiveKitClient, server: Server) -> None:
    server.status, server.error = 503, {"code": "unavailable", "msg": "twirp error unknown: no response from servers"}
    with time_machine.travel(0, tick=False) as clock:
        for _ in range(10):
            with pytest.raises(Overloaded, match="no node of LiveKit has answered it") as caught:
                await client.remove_participant("rk-1", "alice")
            clock.shift(1)
        assert caught.value.code == "no-node"
        assert client.breaker.is_closed


async def test_the_list_of_all_rooms_is_asked_for_beside_a_probe_that_hangs(
    client: LiveKitClient, server: Server
) -> None:
    server.status, server.error = 503, {"code": "unavailable", "msg": "not now"}
    with time_machine.travel(0, tick=False) as clock:
        for _ in range(5):
            with pytest.raises(Overloaded):
                await client.list_rooms()
            clock.shift(1)
        assert not client.breaker.is_closed
        clock.shift(10)
        assert client.breaker.enter(10_000.0) is Ticket.PROBE  # and it hangs
        server.status = 200
        with pytest.raises(BackendUnavailable):
            await client.delete_room("rk-1")
        assert await client.list_rooms() == ()
        await client.delete_room("rk-1")


@pytest.mark.parametrize("said", ["not now", "no healthy upstream"])
async def test_a_503_of_something_else_says_nothing_about_a_participant(
    client: LiveKitClient, server: Server, said: str
) -> None:
    server.status, server.error = 503, {"code": "unavailable", "msg": said}
    with pytest.raises(Overloaded):
        await client.probe("rk-1", "alice")


async def _metadata_of_a_room_that_is_not_there(client: LiveKitClient) -> None:
    try:
        await client.metadata_of("rk-1")
    except NotFound:
        """Counted as an answer."""


REQUESTS: dict[str, tuple[Callable[[LiveKitClient], Awaitable[object]], str]] = {
    "create_room": (lambda client: client.create_room(REQUEST), "CreateRoom"),
    "list_rooms": (lambda client: client.list_rooms(), "ListRooms"),
    "metadata_of": (_metadata_of_a_room_that_is_not_there, "ListRooms"),
    "delete_room": (lambda client: client.delete_room("rk-1"), "DeleteRoom"),
    "list_participants": (lambda client: client.list_participants("rk-1"), "ListParticipants"),
    "remove_participant": (lambda client: client.remove_participant("rk-1", "alice"), "RemoveParticipant"),
    "probe": (lambda client: client.probe("rk-1", "alice"), "UpdateParticipant"),
    "has_nodes_that_answer": (lambda client: client.has_nodes_that_answer(), "CreateRoom"),
    "send_data": (lambda client: client.send_data("rk-1", "topic", {}), "SendData"),
    "update_metadata": (lambda client: client.update_metadata("rk-1", {}), "UpdateRoomMetadata"),
}


def test_the_table_of_requests_has_every_method_of_the_client() -> None:
    assert set(REQUESTS) == public_methods(LiveKitClient)


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_method_is_counted_when_it_is_answered_and_when_it_is_not(
    client: LiveKitClient, server: Server, name: str
) -> None:
    request, operation = REQUESTS[name]
    before, errors = requests_counted("LiveKit"), errors_counted("LiveKit", operation, "503")
    await request(client)
    server.status, server.error = 503, {"code": "unavailable", "msg": "not now"}
    with pytest.raises(Overloaded):
        await request(client)
    assert counted_since(before, "LiveKit") == {operation: 2}
    assert errors_counted("LiveKit", operation, "503") == errors + 1
