"""Looks for other installations that are set up for our namespaces, and draws the consequences in a running term.

A namespace that another one serves is left alone: its pool is closed, and its Matches get an Event that says so. One
that becomes ours has all its keys enqueued. Neighbors: `backends.neighbors` reads and judges, `loop.work_queue` drops
keys of namespaces that are not ours, `app.life` begins no work before the first look.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog

from controller.announce.events import EventPoster, Subject
from controller.api.event_reasons import EventReason
from controller.api.names import MATCH
from controller.backends.bundle import Backends
from controller.backends.neighbors import LOOK_SECONDS, Neighbors
from controller.errors import BackendError
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

# After a look without an answer.
_PAUSE_SECONDS: Final = 1.0
_EVENTS_PER_LOOK: Final = 20


async def until_answered(look: Callable[[], Awaitable[None]], pulse: Pulse) -> None:
    """Repeat `look`, which must have an answer before anything is decided. A failure that lasts is logged once."""
    said = ""
    for attempt in itertools.count():
        pulse.beat()
        try:
            await look()
        except BackendError as error:
            if attempt and (why := str(error)) != said:
                said = why
                tell = log.debug if error.is_told else log.warning
                tell(f"this operator decides about no call before it can read the Leases of operators: {why}")
        else:
            return
        await asyncio.sleep(_PAUSE_SECONDS)


class NeighborWatch:
    """The watch of one term."""

    def __init__(self, neighbors: Neighbors, backends: Backends, queue: WorkQueue, events: EventPoster) -> None:
        self._neighbors = neighbors
        self._backends = backends
        self._queue = queue
        self._events = events
        # What was posted: the UID of the Match, and the sentence.
        self._told: set[tuple[str, str]] = set()

    async def first_look(self, pulse: Pulse) -> None:
        """Look until there is an answer; nothing is decided before.

        If our mark is new, another operator may still work on namespaces that are ours now. Then wait until it has
        read the mark.
        """
        await until_answered(self._neighbors.look, pulse)
        while (seconds := self._neighbors.unnoticed_seconds) and self._may_be_served():
            log.info(f"this operator decides about no call for {seconds:.0f} s, until other operators have noticed it")
            await asyncio.sleep(seconds)
            await until_answered(self._neighbors.look, pulse)

    def _may_be_served(self) -> bool:
        """Whether another operator may still work on a namespace of ours. Live calls are the sign of one that we do not
        see.
        """
        is_seen = any(one.is_ours for one in self._neighbors.found)
        return is_seen or (not self._neighbors.sees_all and bool(self._backends.calls.namespaces()))

    async def run(self, pulse: Pulse) -> None:
        """Look at intervals until cancelled."""
        while True:
            pulse.beat()
            pause_seconds = _PAUSE_SECONDS
            with pulse.item("to look for other operators"):
                await self.look()
                pause_seconds = LOOK_SECONDS
            await asyncio.sleep(pause_seconds)

    async def look(self) -> None:
        """Look once, and follow what changed. Raises BackendError."""
        before = self._left_alone()
        await self._neighbors.look()
        pools = self._backends.pools
        for namespace in (*pools.namespaces(), *pools.closed()):
            if not self._neighbors.serves(namespace):
                pools.release(namespace)
        gained = {namespace for namespace in before if self._neighbors.serves(namespace)}
        self._queue.feed(self._keys_in(gained), Wake.POOL)
        self._post()

    def _left_alone(self) -> set[str]:
        """The namespaces with objects that are left to another operator."""
        if not self._neighbors.gives_way:
            return set()
        namespaces = {of for cache in self._backends.caches.values() for of, _ in cache.names()}
        return {namespace for namespace in namespaces if not self._neighbors.serves(namespace)}

    def _keys_in(self, namespaces: set[str]) -> Iterator[Key]:
        for kind, cache in self._backends.caches.items():
            yield from (Key(kind, of, name) for of, name in cache.names() if of in namespaces)

    def _post(self) -> None:
        """Post one Event per sentence for each contested Match, some of them at each look."""
        contested = dict(self._contested())
        self._told &= contested.keys()
        news = (about for about in contested if about not in self._told)
        for about in [*itertools.islice(news, _EVENTS_PER_LOOK)]:
            self._told.add(about)
            self._events.warning(contested[about], EventReason.TWO_OPERATORS, about[1])

    def _contested(self) -> Iterator[tuple[tuple[str, str], Subject]]:
        """The Matches that are not over and that two installations are set up for, by UID and what is said of them."""
        if not self._neighbors.found:
            return
        calls = self._backends.calls
        known = [(call.namespace, call.uid, call.name) for call in calls.each(calls.namespaces())]
        for namespace, uid, name in (*calls.unserved(), *known):
            for one in self._neighbors.found:
                if one.covers(namespace):
                    yield (uid, one.sentence), Subject(MATCH, namespace, name, uid)
