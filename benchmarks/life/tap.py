"""Webhooks on their way to the operator: those that the benchmark sends itself, and LiveKit's own.

`Tap` listens where LiveKit sends its webhooks, notes the moment of each (LiveKit's own times have no fractions of a
second), and forwards it unchanged to the operator, which listens on another port. The time of this extra hop is part of
the figure.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp import web

from benchmarks.access import Access, CallFailed
from benchmarks.calls import sign
from benchmarks.watcher import MatchFailed
from controller.api.names import MARK_KEY
from controller.facts.livekit import Mark

_CONTENT_TYPE = "application/webhook+json"
_VALID_SECONDS = 300
_PATIENCE_SECONDS = 60.0
_numbers = itertools.count(1)


class Webhooks:
    """Sends webhooks of the benchmark itself, signed like LiveKit's."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, url: str) -> None:
        self._access = access
        self._session = session
        self._url = url

    async def send(self, event: str, room: str, mark: Mark, identity: str, reason: str = "") -> int:
        """Report a participant of one of the operator's rooms; return the moment just before the webhook was sent."""
        body = event_body(event, room, mark, identity, reason)
        headers = {"Authorization": signature(self._access, body), "Content-Type": _CONTENT_TYPE}
        sent = time.monotonic_ns()
        async with self._session.post(self._url, data=body, headers=headers) as response:
            answer = await response.text()
        if response.status != 200:
            raise CallFailed(f"the operator answered a webhook with {response.status} {answer[:200]}")
        return sent


def event_body(event: str, room: str, mark: Mark, identity: str, reason: str = "") -> bytes:
    """Return the body that LiveKit would send."""
    now = time.time()
    person = {
        "identity": identity,
        "sid": f"PA_{identity}",
        "state": "DISCONNECTED" if reason else "ACTIVE",
        "joinedAt": str(int(now)),
        "joinedAtMs": str(int(now * 1000)),
    }
    content = {
        "event": event,
        "id": f"EV_benchmark{next(_numbers)}",
        "createdAt": str(int(now)),
        "room": {"name": room, "metadata": orjson.dumps({MARK_KEY: mark.to_json()}).decode()},
        "participant": person | ({"disconnectReason": reason} if reason else {}),
    }
    return orjson.dumps(content)


def signature(access: Access, body: bytes) -> str:
    """Return the Authorization header for `body`."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return sign(access, {"exp": int(time.time()) + _VALID_SECONDS, "sha256": digest})


class Tap:
    """Between LiveKit (which sends to `url`) and the operator (which listens at `onward`)."""

    def __init__(self, session: aiohttp.ClientSession, url: str, onward: str) -> None:
        self._session = session
        self._address = urlsplit(url)
        self._onward = onward
        self._came: dict[tuple[str, str, str], int] = {}
        self._news = asyncio.Condition()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._take, access_log=None))
        await self._runner.setup()
        host, port = self._address.hostname, self._address.port
        await web.TCPSite(self._runner, host, port, reuse_address=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def when(self, event: str, room: str, identity: str = "") -> int:
        """Return when LiveKit first reported it (monotonic nanoseconds). Raises MatchFailed if it does not."""
        key = (event, room, identity)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), self._news:
                await self._news.wait_for(lambda: key in self._came)
        except TimeoutError:
            raise MatchFailed(f"LiveKit reported no {event} {identity} in {room}") from None
        return self._came[key]

    async def _take(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        arrived = time.monotonic_ns()
        event = orjson.loads(body)
        person = event.get("participant", {}).get("identity", "")
        async with self._news:
            self._came.setdefault((event["event"], event.get("room", {}).get("name", ""), person), arrived)
            self._news.notify_all()
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        try:
            async with self._session.post(self._onward, data=body, headers=headers) as response:
                return web.Response(status=response.status, body=await response.read())
        except aiohttp.ClientError:
            # LiveKit repeats the webhook, as it does when the operator is away.
            return web.Response(status=503)
