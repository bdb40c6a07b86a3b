"""What the API server repeats costs nothing more, and what is new comes through as it was sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.api.names import MATCH, ROOM
from controller.triggers.echoes import without_echoes
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
        aiohttp.ClientSession(response_class=without_echoes({MATCH: made.cache})) as session,
    ):
        made.session, made.url = session, str(server.make_url("/"))
        yield made


def event(kind: str, body: Any) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def bookmark(version: int) -> dict[str, Any]:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}


async def test_an_event_with_a_known_version_becomes_a_bookmark_and_all_others_stay_as_they_are(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.cache.offer(a_match("dead", 4))
    bed.cache.forget("calls", "dead", "uid-of-dead")
    others = [
        event("MODIFIED", a_match("known", 8)),
        event("ADDED", a_match("unknown", 3)),
        event("DELETED", a_match("known", 7)),
        event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        event("ERROR", {"kind": "Status", "code": 410}),
        event("MODIFIED", {"metadata": {"uid": "uid-of-known"}}),
        event("MODIFIED", {"metadata": {"uid": ["odd"], "resourceVersion": "7"}}),
        event("MODIFIED", None),
        b"[]\n",
        b"no JSON\n",
    ]
    echoes = [event("MODIFIED", a_match("known", 7)), event("ADDED", a_match("known", 6))]
    bed.lines = [*echoes, *others, event("MODIFIED", a_match("dead", 5)), b'{"type":"MODI']
    first, second, *rest, of_dead, cut = await bed.watched()
    assert [json.loads(line) for line in (first, second, of_dead)] == [bookmark(7), bookmark(6), bookmark(5)]
    assert rest == others
    assert cut == b'{"type":"MODI'


async def test_a_list_names_only_what_is_not_known(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    odd = {"metadata": None}
    bed.items = [a_match("known", 7), a_match("unknown", 7), odd]
    assert await bed.listed() == [a_match("unknown", 7), odd]


async def test_kinds_without_a_cache_are_left_alone(bed: Bed) -> None:
    bed.cache.offer(a_match("known", 7))
    bed.lines = [event("MODIFIED", a_match("known", 7))]
    assert await bed.watched(ROOM.plural) == bed.lines
