"""The caches take what the API server says, and kopf gets only what they cannot take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from controller.api.names import MATCH, ROOM
from controller.triggers.feed import feeding
from controller.views.cache import ObjectCache
from tests import values as b


def a_match(name: str, version: int) -> dict[str, Any]:
    manifest = b.a_match(name=name, uid=f"uid-of-{name}").manifest()
    manifest["metadata"]["resourceVersion"] = str(version)
    return manifest


class Bed:
    """A server that says `lines` in a watch, cut into pieces, and lists `items`; and a session that reads it."""

    def __init__(self) -> None:
        self.cache: ObjectCache[Any] = ObjectCache(b.a_match().__class__)
        self.lines: list[bytes] = []
        self.items: list[Any] = []
        self.session: aiohttp.ClientSession
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            return web.json_response({"kind": "MatchList", "metadata": {"resourceVersion": "9"}, "items": self.items})
        response = web.StreamResponse()
        await response.prepare(request)
        said = b"".join(self.lines)
        for start in range(0, len(said), 700):
            await response.write(said[start : start + 700])
        return response

    async def watched(self, plural: str = MATCH.plural) -> list[bytes]:
        """The lines as kopf gets them."""
        async with self.session.get(f"{self.url}{plural}?watch=true") as response:
            chunks = [chunk async for chunk in response.content.iter_chunked(1024)]
        return b"".join(chunks).splitlines(keepends=True)

    def versions(self) -> dict[str, str]:
        """The versions of the objects that the cache has, by name."""
        found = [self.cache.get(*name) for name in self.cache.names()]
        return {one.metadata.name: one.metadata.resource_version for one in found if one is not None}

    async def listed(self) -> list[Any]:
        async with self.session.get(f"{self.url}{MATCH.plural}?limit=500") as response:
            items: list[Any] = (await response.json())["items"]
        return items


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    made = Bed()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(response_class=feeding({MATCH: made.cache})) as session,
    ):
        made.session, made.url = session, str(server.make_url("/"))
        yield made


def event(kind: str, body: Any) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def bookmark(version: int) -> dict[str, Any]:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}


async def test_the_cache_takes_each_line_about_an_object_and_kopf_learns_only_where_to_go_on(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.cache.offer(a_match("gone", 5))
    bed.lines = [
        event("MODIFIED", a_match("known", 7)),
        event("MODIFIED", a_match("known", 8)),
        event("ADDED", a_match("new", 9)),
        event("DELETED", a_match("gone", 10)),
        event("MODIFIED", a_match("gone", 5)),
    ]
    lines = await bed.watched()
    assert [json.loads(line) for line in lines] == [bookmark(version) for version in (7, 8, 9, 10, 5)]
    assert bed.versions() == {"known": "8", "new": "9"}


async def test_what_is_no_event_about_an_object_stays_as_it_is(bed: Bed) -> None:
    bed.lines = [
        event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        event("ERROR", {"kind": "Status", "code": 410, "metadata": {"resourceVersion": "9"}}),
        event("MODIFIED", {"metadata": {"uid": "uid-of-known"}}),
        event("MODIFIED", {"metadata": {"uid": "uid-of-known", "resourceVersion": ["9"]}}),
        event("MODIFIED", None),
        b"[]\n",
        b"no JSON\n",
        b'{"type":"MODI',
    ]
    assert await bed.watched() == bed.lines
    assert bed.versions() == {}


async def test_an_object_that_nobody_can_take_costs_no_other_one(bed: Bed) -> None:
    def follower(match: Any) -> None:
        if match.metadata.name == "bad":
            raise RuntimeError("a follower has a bug")

    bed.cache.follow(kept=follower)
    odd = {"metadata": {"uid": ["odd"], "name": "odd", "resourceVersion": "7"}}
    bed.lines = [event("ADDED", odd), event("ADDED", a_match("bad", 8)), event("ADDED", a_match("good", 9))]
    with capture_logs() as logged:
        lines = await bed.watched()
    assert [json.loads(line) for line in lines] == [bookmark(7), bookmark(8), bookmark(9)]
    assert "good" in bed.versions()
    told = [line["event"] for line in logged if line["log_level"] == "error"]
    assert told == ["an event of the watch was not taken in"]


async def test_the_cache_takes_a_list_and_kopf_gets_what_is_no_object(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    odd = {"metadata": None}
    bed.items = [a_match("known", 7), a_match("new", 8), odd]
    assert await bed.listed() == [odd]
    assert bed.versions() == {"known": "7", "new": "8"}


async def test_kinds_without_a_cache_are_left_alone(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.lines = [event("MODIFIED", a_match("known", 7))]
    assert await bed.watched(ROOM.plural) == bed.lines
