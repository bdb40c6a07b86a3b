"""Looks for other installations that are set up for our namespaces, and draws the consequences in a running term.

A namespace that another one serves is left alone: its pool is closed, and its live calls get an Event that says so. One
that becomes ours has all its keys enqueued. Neighbors: `backends.neighbors` reads and judges, `loop.work_queue` drops
keys of namespaces that are not ours, `app.life` begins no work before the first look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import structlog

from controller.announce.events import EventPoster, Subject
from controller.api.event_reasons import EventReason
from controller.api.names import MATCH
from controller.backends.bundle import Backends
from controller.backends.neighbors import Neighbors
from controller.errors import BackendError
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.telemetry.pulse import Pulse
from controller.views.calls import Call

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 15.0
# While another one serves what we would serve, or may not know of us yet.
_LOOK_AGAIN_SECONDS: Final = 3.0
_FIRST_LOOK_SECONDS: Final = 3.0
_FIRST_LOOK_PAUSE_SECONDS: Final = 1.0
_EVENTS_PER_LOOK: Final = 20


class NeighborWatch:
    """The watch of one term."""

    def __init__(self, neighbors: Neighbors, backends: Backends, queue: WorkQueue, events: EventPoster) -> None:
        self._neighbors = neighbors
        self._backends = backends
        self._queue = queue
        self._events = events
        # What was posted: namespace and UID of the Match, and the sentence.
        self._told: set[tuple[str, str, str]] = set()

    async def first_look(self, pulse: Pulse) -> None:
        """Look before anything is decided. At the start of a process, look again until there is an answer.

        A later term begins with what an earlier one found: it looks once, and waits no longer than for one request.
        """
        said = ""
        while True:
            why = "an unexpected failure"
            with pulse.item("the first look for other operators"):
                why = await self._why_not_looked()
            if not why or self._neighbors.is_known:
                return
            if why != said:
                said = why
                log.warning(f"the Leases of other operators cannot be read: {why}; no call is decided about until then")
            await asyncio.sleep(_FIRST_LOOK_PAUSE_SECONDS)

    async def _why_not_looked(self) -> str:
        """Look once. Returns why there is no answer; empty if there is one."""
        try:
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await self._neighbors.look()
        except TimeoutError:
            return f"no answer within {_FIRST_LOOK_SECONDS:g} s"
        except BackendError as error:
            return str(error)
        return ""

    async def run(self, pulse: Pulse) -> None:
        """Look at intervals until cancelled."""
        while True:
            pulse.beat()
            with pulse.item("to look for other operators"):
                await self.look()
            await asyncio.sleep(_LOOK_SECONDS if self._neighbors.is_settled else _LOOK_AGAIN_SECONDS)

    async def look(self) -> None:
        """Look once, and follow what changed. Raises BackendError."""
        namespaces = {of for cache in self._backends.caches.values() for of, _ in cache.names()}
        before = {namespace for namespace in namespaces if not self._neighbors.serves(namespace)}
        await self._neighbors.look()
        pools = self._backends.pools
        for namespace in (*pools.namespaces(), *pools.closed()):
            if not self._neighbors.serves(namespace):
                pools.release(namespace)
        gained = {namespace for namespace in before if self._neighbors.serves(namespace)}
        self._queue.feed(self._keys_in(gained), Wake.POOL)
        self._post()

    def _keys_in(self, namespaces: set[str]) -> Iterator[Key]:
        for kind, cache in self._backends.caches.items():
            yield from (Key(kind, of, name) for of, name in cache.names() if of in namespaces)

    def _post(self) -> None:
        """Post one Event per sentence for each live call in a contested namespace, some of them at each look."""
        calls = self._backends.calls
        self._told = {told for told in self._told if calls.has(told[0], told[1])}
        news = [(call, said) for call, said in self._contested() if (call.namespace, call.uid, said) not in self._told]
        for call, said in news[:_EVENTS_PER_LOOK]:
            self._told.add((call.namespace, call.uid, said))
            subject = Subject(MATCH, call.namespace, call.name, call.uid)
            self._events.warning(subject, EventReason.TWO_OPERATORS, said)

    def _contested(self) -> Iterator[tuple[Call, str]]:
        """The live calls that two installations are set up for, with what is said about them."""
        calls = self._backends.calls
        for one in self._neighbors.found:
            said = one.sentence
            for namespace in filter(one.covers, calls.namespaces()):
                yield from ((call, said) for call in calls.of(namespace))
