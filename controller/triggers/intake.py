"""Takes objects out of the API server's answers to kopf, and into the caches, before kopf spends anything on them.

kopf parses each event, makes a task, a queue and a cause of it, and starts these tasks one after another, each in
several turns of the event loop: where turns are long, a skip waits behind the events before it. Nothing of that is
needed to keep a cache. So a line of a watch about an object becomes a bookmark here: kopf still knows where to go on. A
LIST has no objects for kopf; the one with which it begins is not even read, and answered with the version of our own,
from which kopf then watches. What cannot be read is kopf's to judge: it is handed on as it is. Neighbors:
`triggers.scope` hands the class to kopf's session, `triggers.listing` lists, `views.cache` takes the bodies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self, cast

import aiohttp
import orjson
import structlog
from aiohttp.connector import Connection

from controller.api.names import ResourceKind
from controller.clients.reading import NO_SENSE
from controller.telemetry import metrics
from controller.triggers.pauses import AT_ONCE, with_pauses
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)


def taking_in(
    caches: Mapping[ResourceKind, ObjectCache[Any]], listed: Mapping[ResourceKind, str]
) -> type[aiohttp.ClientResponse]:
    """The class of answers for a session that lists and watches the kinds of these caches, and reads nothing else.

    `listed` has the version at which all of a kind were in its cache: the first LIST of it is answered with that, and
    the watch after it goes on from there. A later LIST is a real one, since that version is too old then. So is the
    first one where the version is empty.
    """
    intakes = {kind.plural: _Intake(kind, cache) for kind, cache in caches.items()}
    unread = {kind.plural: version for kind, version in listed.items() if version}

    class Answer(aiohttp.ClientResponse):
        """An answer about a collection of ours has no objects."""

        async def start(self, connection: Connection) -> Self:
            await super().start(connection)
            intake = intakes.get(self.url.name)
            if intake is not None and self.status == 200 and self.url.query.get("watch") == "true":
                self.content = cast("aiohttp.StreamReader", _Lines(self.content, intake))
            return self

        async def json(self, **options: Any) -> Any:
            intake = intakes.get(self.url.name)
            if intake is None or self.status != 200:
                return await super().json(**options)
            if version := unread.pop(self.url.name, ""):
                return {"metadata": {"resourceVersion": version}, "items": []}
            found = await super().json(**options)
            await intake.listed(found["items"] or [])
            return {**found, "items": []}

    return Answer


class _Intake:
    """Takes in the objects of one kind. One that fails costs no other one."""

    def __init__(self, kind: ResourceKind, cache: ObjectCache[Any]) -> None:
        self._kind = kind
        self._offer = cache.offer
        self._take: dict[str, Callable[[Any], None]] = {
            "ADDED": cache.offer,
            "MODIFIED": cache.offer,
            "DELETED": cache.remove,
        }
        self._events = metrics.watch_events.labels(kind.kind)

    async def listed(self, bodies: list[Any]) -> None:
        """Take in the objects of a LIST, a few at a time."""
        async for body in with_pauses(bodies):
            self._isolated(self._offer, body)

    def line(self, line: bytes) -> bytes:
        """Take in what a line of a watch says. Returns the line for kopf: a bookmark if it was about an object."""
        try:
            event = orjson.loads(line)
            take, body = self._take[event["type"]], event["object"]
            version = int(body["metadata"]["resourceVersion"])
        except NO_SENSE:
            return line
        self._events.inc()
        self._isolated(take, body)
        return b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d"}}}' % version

    def _isolated(self, take: Callable[[Any], None], body: Any) -> None:
        try:
            take(body)
        except Exception:  # the watch is that of all namespaces
            log.exception("an object could not be taken in; the watch goes on", kind=self._kind.kind)


class _Lines:
    """The bytes of a watch, as kopf reads them: in chunks that end with a line."""

    def __init__(self, content: aiohttp.StreamReader, intake: _Intake) -> None:
        self._content = content
        self._intake = intake

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own affair: aiohttp ends it when the connection is lost."""
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the lines that have come, a few at a time; at the end what is left of the last one."""
        rest, taken = b"", 0
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            for start in range(0, len(lines), AT_ONCE):
                some = lines[start : start + AT_ONCE]
                if taken + len(some) > AT_ONCE:
                    taken = 0
                    await asyncio.sleep(0)
                taken += len(some)
                yield b"".join(self._intake.line(line) + b"\n" for line in some)
        if rest:
            yield rest
