"""What the API server tells kopf is in the caches at once, and costs kopf nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from controller.api.names import MATCH, ROOM
from controller.triggers.intake import taking_in
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
        aiohttp.ClientSession(response_class=taking_in({MATCH: made.cache}, {MATCH: ""})) as session,
    ):
        made.session, made.url = session, str(server.make_url("/"))
        yield made


def event(kind: str, body: Any) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def bookmark(version: int) -> dict[str, Any]:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}


async def test_what_a_watch_says_is_in_the_cache_and_kopf_gets_bookmarks_and_what_is_about_no_object(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.cache.offer(a_match("deleted", 4))
    others = [
        event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        event("ERROR", {"kind": "Status", "code": 410}),
        event("MODIFIED", {"metadata": {"uid": "uid-of-known"}}),
        event("MODIFIED", None),
        b"[]\n",
        b"no JSON\n",
    ]
    news = [
        event("MODIFIED", a_match("known", 7)),
        event("MODIFIED", a_match("known", 8)),
        event("ADDED", a_match("unknown", 9)),
        event("DELETED", a_match("deleted", 10)),
        event("MODIFIED", {"metadata": {"uid": ["odd"], "resourceVersion": "11"}}),
    ]
    bed.lines = [*news, *others, event("ADDED", a_match("one-more", 12)), b'{"type":"MODI']
    *bookmarks, last, cut = await bed.watched()
    rest = bookmarks[len(news) :]
    assert [json.loads(line) for line in (*bookmarks[: len(news)], last)] == [
        bookmark(n) for n in (7, 8, 9, 10, 11, 12)
    ]
    assert rest == others
    assert cut == b'{"type":"MODI'
    assert sorted(name for _, name in bed.cache.names()) == ["known", "one-more", "unknown"]
    assert bed.cache.knows("uid-of-known", 8)


async def test_an_object_that_fails_costs_the_watch_no_other_one(bed: Bed) -> None:
    def fails_once(match: Any) -> None:
        if match.metadata.name == "odd":
            raise RuntimeError("a bug")

    bed.cache.follow(kept=fails_once)
    bed.lines = [event("ADDED", a_match(name, 3)) for name in ("odd", "next")]
    with capture_logs() as logs:
        assert len(await bed.watched()) == 2
    assert bed.cache.knows("uid-of-next", 3)
    assert [entry["event"] for entry in logs] == ["an object could not be taken in; the watch goes on"]


async def test_thousands_of_events_that_come_together_leave_room_for_others(bed: Bed) -> None:
    """They come in few pieces after a connection was slow. What users wait for goes on between them."""
    bed.lines = [event("ADDED", a_match(str(number), number + 1)) for number in range(500)]
    seen, known = set[int](), 0

    async def look() -> None:
        while known < len(bed.lines):
            seen.add(len(bed.cache))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await bed.watched()
    known = len(bed.cache)
    await looking
    steps = sorted(seen)
    assert known == 500
    assert max(after - before for before, after in itertools.pairwise(steps)) <= 25


async def test_a_list_is_taken_in_and_has_nothing_for_kopf(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.items = [a_match("known", 7), a_match("unknown", 7), {"metadata": None}]
    assert await bed.listed() == []
    assert sorted(name for _, name in bed.cache.names()) == ["known", "unknown"]


async def test_kinds_without_a_cache_are_left_alone(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.lines = [event("MODIFIED", a_match("known", 7))]
    assert await bed.watched(ROOM.plural) == bed.lines
