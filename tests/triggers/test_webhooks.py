"""LiveKit's webhooks: which are refused, which are stored, and which keys they wake."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from controller.clients.redis.requests import Witnessed
from controller.errors import Backend, BackendUnavailable
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.telemetry import metrics
from controller.triggers.refusals import Refusals
from controller.triggers.router import Router
from controller.triggers.webhooks import BODIES_AT_ONCE, MAX_BODY_BYTES, PATH, WebhookHandler, add_webhooks
from tests import values as b
from tests.support.waiting import patience

KEY, SECRET = "APIkey", "a-secret-of-more-than-thirty-two-characters"
# By the clock that the handler gets; the machine's own clock has a very different time.
NOW_SECONDS = b.ms(9) // 1000
Client = TestClient[web.Request, web.Application]


class Rig:
    """The endpoint, with pools that remember the events they got."""

    def __init__(self) -> None:
        self.witnessed: list[tuple[str, Witnessed]] = []
        self.woken: list[tuple[Key, Wake]] = []
        self.redis_is_down = False
        self._namespace = ""
        router = Router(b.CLUSTER, lambda key, wake: self.woken.append((key, wake)))
        router.room_changed(b.a_room())
        self.woken.clear()
        clock: Any = type("Clock", (), {"now": staticmethod(lambda: b.at(9))})()
        self.app = web.Application()
        handler = WebhookHandler(
            lambda: SIGNERS, cast("Any", self.unbound), router, clock, "replica-1", Refusals(), read_seconds=0.5
        )
        add_webhooks(self.app, handler)

    def unbound(self, namespace: str) -> Rig:
        """Return this rig as the pool of every namespace."""
        self._namespace = namespace
        return self

    async def witness(self, seen: Witnessed) -> None:
        """Remember the event, unless Redis is down."""
        if self.redis_is_down:
            raise BackendUnavailable(Backend.REDIS, "witness", "no answer")
        self.witnessed.append((self._namespace, seen))


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[Client]:
    async with TestClient(TestServer(rig.app)) as client:
        yield client


def an_event(name: str = "participant_joined", *, mark: Any = None, reason: str = "", **more: Any) -> bytes:
    """Return the body of a webhook."""
    metadata = json.dumps({"roomkeeper.dev": b.a_mark().to_json() if mark is None else mark})
    participant = {"sid": "PA_1", "identity": "alice", "joinedAtMs": str(b.ms(3))}
    if reason:
        participant["disconnectReason"] = reason
    event = {
        "event": name, "id": "EV_1", "createdAt": str(b.ms(4) // 1000),
        "room": {"name": b.LIVEKIT_NAME, "sid": "RM_1", "metadata": metadata, "turnPassword": "s3cret"},
        "participant": participant,
    }  # fmt: skip
    return json.dumps(event | more).encode()


def signature(body: bytes, *, secret: str = SECRET, algorithm: str | None = "HS256", **claims: Any) -> str:
    """The Authorization header that LiveKit would send; claims that are None are left out."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    payload = {"iss": KEY, "exp": NOW_SECONDS + 300, "sha256": digest} | claims
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, secret, algorithm=algorithm)


async def post(client: Client, body: bytes, authorization: str | None) -> tuple[int, str]:
    """POST a webhook; return status and text of the answer."""
    headers = {"Content-Type": "application/webhook+json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    async with client.post(PATH, data=body, headers=headers) as response:
        return response.status, await response.text()


BODY = an_event()
ELSEWHERE = "e" * 40
SIGNERS = {
    KEY: {ELSEWHERE: frozenset({"eu-1"}), SECRET: frozenset({"default"})},
    "key-of-us": {"u" * 40: frozenset({"us-1", "us-2"})},
}
REFUSED: list[tuple[str, bytes, str | None, int, str]] = [
    ("no signature", BODY, None, 401, "Authorization header is missing"),
    ("an empty one", BODY, "Bearer ", 401, "no valid token"),
    ("not a token", BODY, "Bearer nonsense", 401, "no valid token"),
    ("half a token", BODY, signature(BODY).rpartition(".")[0], 401, "no valid token"),
    ("signed with another secret", BODY, signature(BODY, secret="x" * 40), 401, "does not fit our API secret"),
    ("signed by another key", BODY, signature(BODY, iss="another"), 401, "API key another that is not ours"),
    ("no issuer", BODY, signature(BODY, iss=None), 401, "no valid token"),
    ("not signed at all", BODY, signature(BODY, secret="", algorithm="none"), 401, "no valid token"),
    ("another algorithm", BODY, signature(BODY, secret="x" * 64, algorithm="HS512"), 401, "no valid token"),
    (
        *("with the secret of another server", BODY, signature(BODY, secret=ELSEWHERE)),
        *(503, "signed with the key of LiveKit server eu-1, and its room is on default"),
    ),
    ("by another server", BODY, signature(BODY, secret="u" * 40, iss="key-of-us"), 503, "LiveKit server us-1 and us-2"),
    ("expired", BODY, signature(BODY, exp=NOW_SECONDS - 120), 401, "has expired"),
    ("for ever", BODY, signature(BODY, exp=None), 401, "no valid token"),
    ("until something", BODY, signature(BODY, exp="tomorrow"), 401, "no numbers"),
    ("until no time", BODY, signature(BODY, exp="nan"), 401, "has expired"),
    ("not yet", BODY, signature(BODY, nbf=NOW_SECONDS + 120), 401, "not valid yet"),
    ("from something", BODY, signature(BODY, nbf={}), 401, "no numbers"),
    ("the body was altered", an_event("room_finished"), signature(BODY), 401, "not the one that was signed"),
    ("no hash", BODY, signature(BODY, sha256=None), 401, "not the one that was signed"),
    ("a hash that is none", BODY, signature(BODY, sha256="ü!"), 401, "not the one that was signed"),
    ("an empty hash", BODY, signature(BODY, sha256=""), 401, "not the one that was signed"),
    ("not JSON", b"nonsense", signature(b"nonsense"), 400, "no webhook event"),
    ("not UTF-8", b"\xff\xfe", signature(b"\xff\xfe"), 400, "no webhook event"),
    ("nothing", b"", signature(b""), 400, "no webhook event"),
    ("a field of the wrong type", b'{"room": 7}', signature(b'{"room": 7}'), 400, "no webhook event"),
    ("too large", b"x" * (MAX_BODY_BYTES + 1), signature(b""), 413, "larger than"),
    ("far too large", b"x" * 1_048_576, signature(b""), 413, "larger than"),
]  # fmt: skip
DEEP = b'{"x":' * 5000 + b"1" + b"}" * 5000


@pytest.mark.parametrize(
    ("body", "authorization", "status", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
async def test_a_webhook_that_is_not_from_livekit_is_refused_and_changes_nothing(
    client: Client, rig: Rig, body: bytes, authorization: str | None, status: int, words: str
) -> None:
    answered, text = await post(client, body, authorization)
    assert (answered, words in text) == (status, True), text
    assert (rig.witnessed, rig.woken) == ([], [])
    assert authorization is None or authorization not in text or len(authorization) < 10


async def test_json_of_any_depth_breaks_nothing(client: Client, rig: Rig) -> None:
    status, _ = await post(client, DEEP, signature(DEEP))
    assert status in {200, 400}
    assert rig.witnessed == []


@pytest.mark.parametrize("name", ["room_started", "track_published"])
async def test_an_event_that_tells_no_key_anything_is_accepted_and_not_stored(
    client: Client, rig: Rig, name: str
) -> None:
    body = an_event(name)
    assert await post(client, body, signature(body)) == (200, "")
    assert (rig.witnessed, rig.woken) == ([], [])


async def test_an_event_is_stored_before_it_is_answered_and_then_wakes_room_and_match(client: Client, rig: Rig) -> None:
    assert await post(client, BODY, signature(BODY)) == (200, "")
    ((namespace, seen),) = rig.witnessed
    assert (namespace, seen.event, seen.match_uid, seen.identity) == (
        b.NAMESPACE, "participant_joined", b.MATCH_UID, "alice",
    )  # fmt: skip
    assert (seen.sid, seen.joined_at_ms, seen.reason) == ("PA_1", b.ms(3), "")
    assert [str(key.kind) for key, _ in rig.woken] == ["Room", "Match"]


async def test_only_named_fields_are_passed_on(client: Client, rig: Rig) -> None:
    body = an_event("participant_left", reason="CLIENT_INITIATED")
    await post(client, body, "Bearer " + signature(body))
    entry = dict(rig.witnessed[0][1].entry)
    assert entry == {
        "id": "EV_1", "event": "participant_left", "room": b.LIVEKIT_NAME, "roomSid": "RM_1", "roomUID": b.ROOM_UID,
        "match": b.MATCH_UID, "identity": "alice", "participantSid": "PA_1", "reason": "CLIENT_INITIATED",
        "at": str(b.ms(4) + 999), "replica": "replica-1",
    }  # fmt: skip
    assert "s3cret" not in str(rig.witnessed)


async def test_the_time_of_an_event_is_the_end_of_its_second_but_not_after_its_arrival(
    client: Client, rig: Rig
) -> None:
    for created in (b.ms(4) // 1000, b.ms(9) // 1000, 0):
        body = an_event(createdAt=str(created))
        await post(client, body, signature(body))
    assert [seen.at_ms for _, seen in rig.witnessed] == [b.ms(4) + 999, b.ms(9), b.ms(9)]


async def test_events_about_a_room_name_no_participant(client: Client, rig: Rig) -> None:
    body = an_event("room_finished")
    await post(client, body, signature(body))
    assert rig.witnessed[0][1].identity == ""


async def test_events_of_a_standing_room_name_no_match(client: Client, rig: Rig) -> None:
    body = an_event(mark=b.a_mark(root_uid=b.ROOM_UID).to_json())
    await post(client, body, signature(body))
    assert rig.witnessed[0][1].match_uid == ""


@pytest.mark.parametrize("mark", [b.a_mark(cluster="another").to_json(), {"cluster": "default"}, "text", 7, [], {}])
async def test_rooms_that_are_not_ours_are_answered_and_left_alone(client: Client, rig: Rig, mark: Any) -> None:
    body = an_event(mark=mark)
    assert (await post(client, body, signature(body)))[0] == 200
    assert (rig.witnessed, rig.woken) == ([], [])


async def test_a_redis_that_is_away_makes_livekit_send_it_again(client: Client, rig: Rig) -> None:
    rig.redis_is_down = True
    assert (await post(client, BODY, signature(BODY)))[0] == 503
    assert rig.woken == []


@pytest.mark.parametrize("claims", [{"exp": NOW_SECONDS - 30}, {"nbf": NOW_SECONDS + 30}, {"iat": NOW_SECONDS + 7200}])
async def test_a_little_difference_of_clocks_is_forgiven(client: Client, rig: Rig, claims: dict[str, Any]) -> None:
    assert (await post(client, BODY, signature(BODY, **claims)))[0] == 200
    assert len(rig.witnessed) == 1


async def test_fields_of_a_newer_livekit_are_ignored(client: Client) -> None:
    body = an_event(somethingNew={"a": 1})
    assert (await post(client, body, signature(body)))[0] == 200


async def test_only_posts_are_taken(client: Client) -> None:
    before = counted("wrong-method")
    async with client.get(PATH) as response:
        assert response.status == 405
    assert counted("wrong-method") == before + 1


def counted(result: str, server: str = "") -> float:
    return cast("float", metrics.webhooks.labels(result, server)._value.get())


async def test_an_accepted_webhook_counts_for_the_server_that_sent_it(client: Client) -> None:
    before = counted("accepted", "default")
    await post(client, BODY, signature(BODY))
    assert counted("accepted", "default") == before + 1


async def test_a_slash_at_the_end_of_the_path_does_no_harm(client: Client, rig: Rig) -> None:
    async with client.post(f"{PATH}/", data=BODY, headers={"Authorization": signature(BODY)}) as response:
        assert response.status == 200
    assert len(rig.witnessed) == 1


@pytest.mark.parametrize("path", ["/", "/livekit/webhooks", "/livekit"])
async def test_another_path_is_counted_and_the_log_says_which_is_right(client: Client, path: str) -> None:
    before = counted("wrong-path")
    with capture_logs() as logs:
        for _ in range(3):
            async with client.post(path, data=BODY, headers={"Authorization": signature(BODY)}) as response:
                assert response.status == 404
                assert PATH in await response.text()
    assert counted("wrong-path") == before + 3
    (line,) = logs
    assert (line["code"], line["path"]) == ("wrong-path", path)
    assert "webhook.urls" in line["why"]


async def test_refusals_of_one_cause_are_logged_once_in_a_while_and_counted_all(client: Client) -> None:
    before = counted("unsigned")
    with capture_logs() as logs:
        for _ in range(20):
            await post(client, BODY, None)
        await post(client, BODY, "Bearer nonsense")
    assert counted("unsigned") == before + 20
    assert [line["code"] for line in logs] == ["unsigned", "bad-token"]


async def test_an_encoded_body_is_refused_unread(client: Client, rig: Rig) -> None:
    body = gzip.compress(BODY)
    headers = {"Authorization": signature(body), "Content-Encoding": "gzip"}
    async with client.post(PATH, data=body, headers=headers) as response:
        assert response.status == 415
    assert rig.witnessed == []


# On a real socket


async def opened(client: Client, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the beginning of a request was sent."""
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    writer.write(head.encode())
    await writer.drain()
    return reader, writer


def an_unfinished_post(authorization: str = "", length: int = MAX_BODY_BYTES) -> str:
    """The head of a POST whose body is announced, and half a kilobyte of it."""
    signed = f"Authorization: {authorization}\r\n" if authorization else ""
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{signed}Content-Length: {length}\r\n\r\n{'x' * 512}"


async def test_unsigned_requests_are_answered_before_their_body_comes_and_are_not_held(client: Client) -> None:
    connections = await asyncio.gather(*(opened(client, an_unfinished_post()) for _ in range(400)))
    for reader, writer in connections:
        answer = await asyncio.wait_for(reader.read(), patience())
        assert answer.startswith(b"HTTP/1.1 401 ")
        writer.close()
    # Signed ones are served all the while.
    assert await post(client, BODY, signature(BODY)) == (200, "")


async def test_signed_bodies_are_read_in_bounded_number_and_time_and_livekit_sends_the_others_again(
    client: Client, rig: Rig
) -> None:
    head = an_unfinished_post(signature(b""))
    connections = await asyncio.gather(*(opened(client, head) for _ in range(BODIES_AT_ONCE + 8)))
    answers = [await asyncio.wait_for(reader.read(), patience()) for reader, _ in connections]
    for _, writer in connections:
        writer.close()
    assert all(answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 1\r\n" in answer for answer in answers)
    said = [answer.rpartition(b"\r\n\r\n")[2] for answer in answers]
    assert said.count(b"too many webhooks at once; send it again\n") == 8
    assert said.count(b"the body did not come within 0.5 s; send it again\n") == BODIES_AT_ONCE
    assert await post(client, BODY, signature(BODY)) == (200, "")
    assert len(rig.witnessed) == 1


async def test_a_body_without_a_length_is_bounded_too(client: Client) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            yield b"x" * 65536

    async with client.post(PATH, data=body(), headers={"Authorization": signature(b"")}) as response:
        assert response.status == 413


async def test_an_attempt_to_join_that_livekit_gave_up_is_counted_by_its_server(client: Client) -> None:
    counted = metrics.connections_aborted.labels("default")
    before = counted._value.get()
    body = an_event("participant_connection_aborted", reason="JOIN_FAILURE")
    assert (await post(client, body, signature(body)))[0] == 200
    assert counted._value.get() == before + 1
