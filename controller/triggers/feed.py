"""Gives the caches what the API server answers to kopf, before kopf spends anything on it.

kopf keeps the watch going: discovery, LIST, where to go on, and what an error means. Of each event it would make a
task, a queue, a cause and a memory of the object, and call a handler, at a tenth of what a whole call costs us. Here
the caches take each line of a watch, and kopf gets a bookmark of it, so it still knows where to go on. They take the
objects of a LIST as well, and kopf gets an empty one. What cannot be taken is kopf's to judge: it is handed on as it
is. Neighbors: `triggers.scope` hands the class to kopf's session and has the handler for what is handed on,
`views.cache` drops what it knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self, cast

import aiohttp
import orjson
import structlog
from aiohttp.connector import Connection

from controller.api.names import ResourceKind
from controller.clients.reading import NO_SENSE
from controller.telemetry import metrics
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)


def feeding(caches: Mapping[ResourceKind, ObjectCache[Any]]) -> type[aiohttp.ClientResponse]:
    """The class of answers for a session that lists and watches the kinds of these caches, and reads nothing else."""
    feeds = {kind.plural: _Feed(kind, cache) for kind, cache in caches.items()}

    class Answer(aiohttp.ClientResponse):
        """An answer about a collection of ours has only what the caches have not taken."""

        async def start(self, connection: Connection) -> Self:
            await super().start(connection)
            feed = feeds.get(self.url.name)
            if feed is not None and self.status == 200 and self.url.query.get("watch") == "true":
                self.content = cast("aiohttp.StreamReader", _Lines(self.content, feed))
            return self

        async def json(self, **options: Any) -> Any:
            found = await super().json(**options)
            feed = feeds.get(self.url.name)
            return found if feed is None else await feed.without_taken(found)

    return Answer


class _Feed:
    """What takes the objects of one kind."""

    def __init__(self, kind: ResourceKind, cache: ObjectCache[Any]) -> None:
        self._kind = kind
        self._cache = cache
        self._takers = {"ADDED": cache.offer, "MODIFIED": cache.offer, "DELETED": cache.remove}
        self._events = metrics.watch_events.labels(kind.kind)

    async def without_taken(self, found: Any) -> Any:
        """A List without the objects that the cache knows or takes. Our own LIST has been there before."""
        if isinstance(found, dict) and isinstance(items := found.get("items"), list):
            found["items"] = [body for body in items if not _version_of(body)]
            for body in items:
                if _version_of(body) and self._cache.news(body) is not None:
                    self._take("ADDED", body)
                    await asyncio.sleep(0)  # many objects must not hold the event loop
        return found

    def line(self, line: bytes) -> bytes:
        """What kopf gets of a line of a watch: a bookmark, if the cache takes it."""
        try:
            event = orjson.loads(line)
            kind, body = event["type"], event["object"]
        except NO_SENSE:
            return line
        version = _version_of(body) if kind in self._takers else ""
        if not version:
            return line
        self._events.inc()
        self._take(kind, body)
        return b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%s"}}}' % version.encode()

    def _take(self, event: str, body: Any) -> None:
        try:
            self._takers[event](body)
        except Exception:  # what follows from one object must never end the watch of the others
            log.exception("an event of the watch was not taken in", kind=self._kind.kind, type=event)


class _Lines:
    """The bytes of a watch, as kopf reads them: in chunks that end with a line."""

    def __init__(self, content: aiohttp.StreamReader, feed: _Feed) -> None:
        self._content = content
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own affair: aiohttp ends it when the connection is lost."""
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the lines that have come; at the end what is left of the last one."""
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield b"".join(self._feed.line(line) + b"\n" for line in lines)
        if rest:
            yield rest


def _version_of(body: Any) -> str:
    """The version of an object; empty for what has none."""
    try:
        version: str = body["metadata"]["resourceVersion"]
        return str(int(version))
    except NO_SENSE:
        return ""
