"""Looks for other installations that are set up for our namespaces, and draws the consequences in a running term.

A namespace that another one serves is left alone: its pool is closed, and its Matches get an Event that says so. One
that becomes ours has all its keys enqueued. Neighbors: `backends.neighbors` reads and judges, `loop.work_queue` drops
keys of namespaces that are not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from controller.announce.events import EventPoster, Subject
from controller.api.event_reasons import EventReason
from controller.api.match import Match
from controller.api.names import MATCH
from controller.backends.bundle import Backends
from controller.backends.neighbors import Neighbors, Shared
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.telemetry.pulse import Pulse

_LOOK_SECONDS: Final = 15.0
# While another one serves what we would serve: its end is waited for.
_LOOK_AGAIN_SECONDS: Final = 3.0
_FIRST_LOOK_SECONDS: Final = 3.0
_EVENTS_PER_LOOK: Final = 20


class NeighborWatch:
    """The watch of one term."""

    def __init__(self, neighbors: Neighbors, backends: Backends, queue: WorkQueue, events: EventPoster) -> None:
        self._neighbors = neighbors
        self._backends = backends
        self._queue = queue
        self._events = events
        self._told: set[str] = set()

    async def first_look(self) -> None:
        """Look once before anything is decided. A server that hangs is not waited for. Raises BackendError."""
        async with asyncio.timeout(_FIRST_LOOK_SECONDS):
            await self._neighbors.look()

    async def run(self, pulse: Pulse) -> None:
        """Look at intervals until cancelled."""
        while True:
            pulse.beat()
            with pulse.item("to look for other operators"):
                await self.look()
            is_waiting = any(not one.is_ours for one in self._neighbors.found)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS if is_waiting else _LOOK_SECONDS)

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
        """Post an Event for each Match in a shared namespace, some of them at each look."""
        contested = [
            (match, one) for match in self._matches() for one in self._neighbors.found if _concerns(one, match)
        ]
        self._told &= {match.metadata.uid for match, _ in contested}
        news = [(match, one) for match, one in contested if match.metadata.uid not in self._told]
        for match, one in news[:_EVENTS_PER_LOOK]:
            self._told.add(match.metadata.uid)
            self._events.warning(Subject.of(MATCH, match), EventReason.TWO_OPERATORS, one.sentence)

    def _matches(self) -> Iterator[Match]:
        if not self._neighbors.found:
            return
        cache = self._backends.caches[MATCH]
        for namespace, name in cache.names():
            if isinstance(found := cache.get(namespace, name), Match):
                yield found


def _concerns(one: Shared, match: Match) -> bool:
    return one.covers(match.metadata.namespace)
