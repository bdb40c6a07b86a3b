"""Takes what the caches know out of the API server's answers to kopf, before kopf spends anything on it.

Three of the four events of a Match that becomes Ready repeat what the answers to our own writes said, and kopf's LIST
repeats every object of ours. kopf parses each, makes a task, a queue and a cause of it, and the cache drops it at the
end of that way. Here a line of a watch that repeats a known version becomes a bookmark, so kopf still knows where to go
on, and such an object is left out of a LIST. What cannot be read is kopf's to judge: it is handed on as it is.
Neighbors: `triggers.scope` hands the class to kopf's session, `views.cache` knows the versions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self, cast

import aiohttp
import orjson
from aiohttp.connector import Connection

from controller.api.names import ResourceKind
from controller.clients.reading import NO_SENSE
from controller.telemetry import metrics
from controller.views.cache import ObjectCache

_OBJECT_EVENTS = frozenset({"ADDED", "MODIFIED"})


def without_echoes(caches: Mapping[ResourceKind, ObjectCache[Any]]) -> type[aiohttp.ClientResponse]:
    """The class of answers for a session that lists and watches the kinds of these caches, and reads nothing else."""
    known = {kind.plural: _Known(kind, cache) for kind, cache in caches.items()}

    class Answer(aiohttp.ClientResponse):
        """An answer about a collection of ours has only what is new."""

        async def start(self, connection: Connection) -> Self:
            await super().start(connection)
            of_kind = known.get(self.url.name)
            if of_kind is not None and self.status == 200 and self.url.query.get("watch") == "true":
                self.content = cast("aiohttp.StreamReader", _News(self.content, of_kind))
            return self

        async def json(self, **options: Any) -> Any:
            found = await super().json(**options)
            of_kind = known.get(self.url.name)
            return found if of_kind is None else of_kind.without_known(found)

    return Answer


class _Known:
    """What is known of one kind."""

    def __init__(self, kind: ResourceKind, cache: ObjectCache[Any]) -> None:
        self._cache = cache
        self._events = metrics.watch_events.labels(kind.kind)

    def without_known(self, found: Any) -> Any:
        """A List without the objects whose versions are known."""
        if isinstance(found, dict) and isinstance(items := found.get("items"), list):
            found["items"] = [body for body in items if not self._version_if_known(body)]
        return found

    def news(self, line: bytes) -> bytes:
        """A line of a watch; a bookmark if the version of the object is known."""
        try:
            event = orjson.loads(line)
            is_about_object, body = event["type"] in _OBJECT_EVENTS, event["object"]
        except NO_SENSE:
            return line
        version = self._version_if_known(body) if is_about_object else ""
        if not version:
            return line
        self._events.inc()
        return b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%s"}}}' % version.encode()

    def _version_if_known(self, body: Any) -> str:
        """The version of an object; empty if it is not known."""
        try:
            metadata = body["metadata"]
            version: str = metadata["resourceVersion"]
            return version if self._cache.knows(metadata["uid"], int(version)) else ""
        except NO_SENSE:
            return ""


class _News:
    """The bytes of a watch, as kopf reads them: in chunks that end with a line."""

    def __init__(self, content: aiohttp.StreamReader, known: _Known) -> None:
        self._content = content
        self._known = known

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own affair: aiohttp ends it when the connection is lost."""
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the lines that have come; at the end what is left of the last one."""
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield b"".join(self._known.news(line) + b"\n" for line in lines)
        if rest:
            yield rest
