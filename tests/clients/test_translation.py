"""What a backend answers, or leaves out, becomes one row of the table of errors: from the wire to `api.failures_table`.

Each answer is sent by a server of our own, byte by byte, with a token in its text. No error repeats the token, and each
keeps what the library raised as its cause.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
import pytest
from redis import exceptions

from controller.api.failure_codes import FailureCode as F
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clients.livekit import LiveKitClient
from controller.clients.redis.errors import reply_error, translate
from controller.clients.request import Limits
from controller.clock import ServerClock
from controller.errors import BackendError, LibraryError
from controller.rules.failures import classify
from tests import values as b
from tests.clients.connections import connection_to

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ"
PROXY = f"<html><body>502 Bad Gateway for Bearer {TOKEN}</body></html>"
MATCHES = Resource("roomkeeper.dev", "v1alpha1", "matches")
HANGS, RESETS, STOPS = "hangs", "resets", "stops in the middle"
_SOON = Limits(deadline_seconds=0.3, slow_seconds=0.2)
_PATIENT = Limits(deadline_seconds=30.0, slow_seconds=20.0)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: str = ""
    content_type: str = "application/json"
    headers: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.body[:60]}"


def status(code: int, reason: str, message: str = "because", name: str = "") -> Answer:
    """A refusal of an API server."""
    said = {"kind": "Status", "reason": reason, "message": f"{message} token={TOKEN}", "details": {"name": name}}
    return Answer(code, json.dumps(said))


def twirp(code: int, word: str) -> Answer:
    """A refusal of LiveKit."""
    return Answer(code, json.dumps({"code": word, "msg": f"invalid token: {TOKEN}"}))


KUBERNETES: tuple[tuple[Answer | str, F, bool, bool], ...] = (
    (status(400, "BadRequest"), F.OBJECT_INVALID, False, False),
    (status(401, "Unauthorized"), F.KUBERNETES_UNAUTHORIZED, False, True),
    (status(403, "Forbidden", "rooms is forbidden: User cannot create"), F.KUBERNETES_FORBIDDEN, False, True),
    (status(403, "Forbidden", "secrets is forbidden: exceeded quota: few"), F.QUOTA_EXCEEDED, False, True),
    (
        status(403, "Forbidden", "unable to create new content because it is being terminated"),
        F.NAMESPACE_TERMINATING,
        False,
        True,
    ),
    (status(404, "NotFound", name="calls"), F.OBJECT_UNCLEAR, False, True),
    (Answer(404, "404 page not found\n", "text/plain"), F.KIND_NOT_SERVED, False, True),
    (Answer(404, PROXY, "text/html"), F.OBJECT_UNCLEAR, False, True),
    (status(409, "Conflict"), F.OBJECT_CHANGED, False, True),
    (status(409, "AlreadyExists"), F.OBJECT_EXISTS, False, False),
    (status(410, "Expired"), F.LIST_EXPIRED, False, True),
    (status(422, "Invalid"), F.OBJECT_INVALID, False, False),
    (status(429, "TooManyRequests"), F.KUBERNETES_BUSY, False, True),
    (status(500, "InternalError", "etcdserver: request timed out"), F.KUBERNETES_FAILED, True, True),
    (Answer(502, PROXY, "text/html"), F.KUBERNETES_FAILED, True, True),
    (status(503, "ServiceUnavailable"), F.KUBERNETES_FAILED, True, True),
    (status(504, "Timeout"), F.KUBERNETES_FAILED, True, True),
    (Answer(200, PROXY, "text/html"), F.KUBERNETES_UNREADABLE, True, True),
    (HANGS, F.KUBERNETES_TIMEOUT, True, True),
    (RESETS, F.KUBERNETES_UNREACHABLE, True, True),
    (STOPS, F.KUBERNETES_UNREACHABLE, True, True),
)
"""What the API server, or a proxy before it, does with a POST; the row; whether it may have run; whether to repeat."""

LIVEKIT: tuple[tuple[Answer | str, F, bool, bool], ...] = (
    (twirp(400, "malformed"), F.LIVEKIT_INVALID, False, False),
    (twirp(401, "unauthenticated"), F.LIVEKIT_UNAUTHORIZED, False, True),
    (Answer(401, f"invalid token: {TOKEN}", "text/plain"), F.LIVEKIT_UNAUTHORIZED, False, True),
    (twirp(403, "permission_denied"), F.LIVEKIT_UNAUTHORIZED, False, True),
    (twirp(404, "not_found"), F.LIVEKIT_NOT_FOUND, False, False),
    (twirp(404, "bad_route"), F.LIVEKIT_WRONG_URL, False, True),
    (Answer(404, PROXY, "text/html"), F.LIVEKIT_WRONG_URL, False, True),
    (twirp(412, "failed_precondition"), F.LIVEKIT_REFUSED, False, False),
    (twirp(429, "resource_exhausted"), F.LIVEKIT_BUSY, True, True),
    (twirp(500, "internal"), F.LIVEKIT_FAILED, True, True),
    (Answer(502, PROXY, "text/html"), F.LIVEKIT_FAILED, True, True),
    (twirp(503, "unavailable"), F.LIVEKIT_FAILED, True, True),
    (Answer(200, PROXY, "text/html"), F.LIVEKIT_UNREADABLE, True, True),
    (HANGS, F.LIVEKIT_TIMEOUT, True, True),
    (RESETS, F.LIVEKIT_UNREACHABLE, True, True),
    (STOPS, F.LIVEKIT_UNREACHABLE, True, True),
)
"""The same for LiveKit."""

REDIS: tuple[tuple[Exception, F, bool, bool], ...] = (
    (exceptions.TimeoutError(f"AUTH {TOKEN}"), F.REDIS_TIMEOUT, True, True),
    (exceptions.ConnectionError(f"reset while the reply of {TOKEN} was read"), F.REDIS_UNREACHABLE, True, True),
    (OSError(f"no such host {TOKEN}"), F.REDIS_UNREACHABLE, True, True),
    (reply_error(f"READONLY You can't write against a read only replica {TOKEN}"), F.REDIS_READ_ONLY, False, True),
    (reply_error(f"NOREPLICAS Not enough good replicas {TOKEN}"), F.REDIS_READ_ONLY, False, True),
    (reply_error(f"LOADING Redis is loading the dataset in memory {TOKEN}"), F.REDIS_STARTING, False, True),
    (reply_error(f"OOM command not allowed {TOKEN}"), F.REDIS_FULL, False, True),
    (reply_error(f"MISCONF Errors writing to the AOF {TOKEN}"), F.REDIS_NOT_SAVING, False, True),
    (reply_error(f"BUSY Redis is busy running a script {TOKEN}"), F.REDIS_BUSY, False, True),
    (reply_error(f"TRYAGAIN Multiple keys request {TOKEN}"), F.REDIS_BUSY, False, True),
    (reply_error(f"CLUSTERDOWN Hash slot not served {TOKEN}"), F.REDIS_DOWN, False, True),
    (reply_error(f"MASTERDOWN Link with MASTER is down {TOKEN}"), F.REDIS_DOWN, False, True),
    (reply_error(f"NOSCRIPT No matching script {TOKEN}"), F.REDIS_SCRIPT_MISSING, False, False),
    (reply_error(f"MOVED 3999 127.0.0.1:6381 {TOKEN}"), F.REDIS_MISROUTED, False, False),
    (reply_error(f"ASK 3999 127.0.0.1:6381 {TOKEN}"), F.REDIS_MISROUTED, False, False),
    (reply_error(f"CROSSSLOT Keys in request don't hash to the same slot {TOKEN}"), F.REDIS_MISROUTED, False, False),
    (reply_error(f"WRONGTYPE Operation against a key {TOKEN}"), F.RECORD_DAMAGED, False, False),
    (reply_error(f"WRONGPASS invalid username-password pair {TOKEN}"), F.REDIS_UNAUTHORIZED, False, False),
    (reply_error(f"NOAUTH Authentication required. {TOKEN}"), F.REDIS_UNAUTHORIZED, False, False),
    (reply_error(f"NOPERM this user has no permissions {TOKEN}"), F.REDIS_UNAUTHORIZED, False, False),
    (reply_error(f"ERR unknown command 'X', with args beginning with: {TOKEN}"), F.REDIS_REFUSED, False, False),
)
"""What a Redis answers. `tests.redis.test_client` sees it on real servers, with replies that are lost."""


@asynccontextmanager
async def serving(answer: Answer | str) -> AsyncIterator[str]:
    """A server that does this with every request; the block gets its URL."""
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            if answer == HANGS:
                await is_over.wait()
            elif answer == STOPS:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
            elif isinstance(answer, Answer):
                body = answer.body.encode()
                head = f"HTTP/1.1 {answer.status} -\r\nContent-Type: {answer.content_type}\r\n{answer.headers}"
                writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        is_over.set()
        server.close()
        await server.wait_closed()


def limits_for(answer: Answer | str) -> Limits:
    """A short limit only for a server that hangs: a loaded machine may be slow."""
    return _SOON if answer == HANGS else _PATIENT


async def raised_by(request: Callable[[], Awaitable[object]]) -> BackendError:
    """The error of the request."""
    with pytest.raises(BackendError) as caught:
        await request()
    return caught.value


def assert_is(error: BackendError, code: F, may_have_run: bool, retryable: bool) -> None:
    """The error has this row, and repeats no secret."""
    assert classify(error).failure.code is code
    assert (error.may_have_run, error.retryable) == (may_have_run, retryable)
    shown = f"{error} {error!r} {error.sentence} {''.join(traceback.format_exception(error))}"
    assert not [part for part in TOKEN.split(".") if part in shown], shown


@pytest.mark.parametrize(("answer", "code", "may_have_run", "retryable"), KUBERNETES, ids=str)
async def test_kubernetes(answer: Answer | str, code: F, may_have_run: bool, retryable: bool) -> None:
    async with serving(answer) as url, connection_to(url) as connection:
        client = KubernetesClient(connection, ServerClock(), limits=limits_for(answer))
        error = await raised_by(lambda: client.create(MATCHES, "calls", {}))
    assert_is(error, code, may_have_run, retryable)
    assert isinstance(error.__cause__, LibraryError)


async def test_kubernetes_says_of_an_object_that_it_is_gone() -> None:
    async with serving(status(404, "NotFound", name="m")) as url, connection_to(url) as connection:
        error = await raised_by(lambda: KubernetesClient(connection, ServerClock()).get(MATCHES, "calls", "m"))
    assert_is(error, F.OBJECT_GONE, may_have_run=False, retryable=False)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("86400", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", 0.0)]
)
async def test_kubernetes_says_for_how_long_to_wait(header: str, seconds: float) -> None:
    answer = Answer(429, "{}", headers=f"Retry-After: {header}\r\n")
    async with serving(answer) as url, connection_to(url) as connection:
        error = await raised_by(lambda: KubernetesClient(connection, ServerClock()).get(MATCHES, "calls", "m"))
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(("answer", "code", "may_have_run", "retryable"), LIVEKIT, ids=str)
async def test_livekit(answer: Answer | str, code: F, may_have_run: bool, retryable: bool) -> None:
    now = SimpleNamespace(now=lambda: b.at(9))
    async with serving(answer) as url, aiohttp.ClientSession() as session:
        client = LiveKitClient(session, url, "APIkey", "s" * 40, now, limits=limits_for(answer))
        error = await raised_by(lambda: client.delete_room("rk-1"))
    assert_is(error, code, may_have_run, retryable)
    assert isinstance(error.__cause__, LibraryError)


@pytest.mark.parametrize(("raised", "code", "may_have_run", "retryable"), REDIS, ids=lambda one: str(one)[:20])
def test_redis(raised: Exception, code: F, may_have_run: bool, retryable: bool) -> None:
    assert_is(translate(raised, "claim"), code, may_have_run, retryable)
