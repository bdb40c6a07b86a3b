"""The watch of the benchmark: it goes on where the API server ended it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.watcher import watching


def an_event(version: int) -> bytes:
    """Return the line of a change that made this version."""
    metadata = {"name": f"match-{version}", "resourceVersion": str(version)}
    return orjson.dumps({"type": "ADDED", "object": {"metadata": metadata}}) + b"\n"


@contextlib.asynccontextmanager
async def watched(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[AsyncIterator[Any]]:
    """Watch an API server that answers so."""
    app = web.Application()
    app.router.add_get("/matches", answer)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
        watching(session, str(server.make_url("/matches"))) as events,
    ):
        yield events


async def test_a_watch_that_ends_is_opened_again_after_the_last_event() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}})
        asked.append(request.query["resourceVersion"])
        after = int(asked[-1])
        # The second answer breaks off within a line.
        return web.Response(body=an_event(after + 1) + an_event(after + 2) + (b"{" if len(asked) == 2 else b""))

    async with watched(answer) as events:
        seen = [int((await anext(events))[1]["object"]["metadata"]["resourceVersion"]) for _ in range(6)]
    assert seen == [8, 9, 10, 11, 12, 13]
    assert asked == ["7", "9", "11"]


async def test_a_watch_outlives_an_api_server_that_fails_and_names_what_is_lost_for_good() -> None:
    gone = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}) + b"\n"
    failed = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 500}}) + b"\n"
    answers = [web.Response(body=an_event(8) + failed), web.Response(status=503), web.Response(body=an_event(9) + gone)]
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}})
        asked.append(request.query["resourceVersion"])
        return answers[len(asked) - 1]

    async with watched(answer) as events:
        seen = [int((await anext(events))[1]["object"]["metadata"]["resourceVersion"]) for _ in range(2)]
        with pytest.raises(ConnectionError, match="410"):
            await anext(events)
    assert seen == [8, 9]
    assert asked == ["7", "8", "8"]
