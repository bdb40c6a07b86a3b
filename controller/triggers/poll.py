"""The second witness: one bulk ListRooms per LiveKit server and interval, whatever the number of Matches.

ListParticipants follows only where a count has changed, somebody is still joining, or a webhook told of a change; a
few at a time. What polling finds before any webhook told of it is counted.
"""

from __future__ import annotations

import asyncio
import random

import structlog

from controller.backends import Backends
from controller.errors import BackendError

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_GATHER_SECONDS = 0.2


class Poller:
    """Reads one server for as long as it runs."""

    def __init__(self, backends: Backends, interval_seconds: float) -> None:
        self._backends = backends
        self._interval_seconds = interval_seconds
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._loop = asyncio.get_running_loop()
        self._asked: set[str] = set()
        self._counting: set[asyncio.Task[None]] = set()
        self._stopped = False

    def ask(self, name: str) -> None:
        """A webhook told of somebody in the room `name`: read in a moment who is there, once for all that is told by
        then.
        """
        if self._stopped:
            return
        if not self._asked:
            self._loop.call_later(_GATHER_SECONDS, self._count_asked)
        self._asked.add(name)

    def _count_asked(self) -> None:
        for name in () if self._stopped else self._asked:
            task = self._loop.create_task(self.count(name))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        self._asked.clear()

    async def run(self) -> None:
        """Poll until cancelled; then the counts that are under way end as well."""
        try:
            while True:
                await self.poll()
                # A little jitter, so that replicas and servers do not all ask at one moment.
                await asyncio.sleep(self._interval_seconds * random.uniform(0.9, 1.1))  # noqa: S311
        finally:
            self._stopped = True
            for task in self._counting:
                task.cancel()
            await asyncio.gather(*self._counting, return_exceptions=True)

    async def poll(self) -> None:
        """One round: all rooms, then the people of those that changed."""
        view, client = self._backends.livekit.view, self._backends.livekit.client
        sent_at = self._backends.clock.now()
        was_away = bool(view.failure)
        try:
            rooms = await client.list_rooms()
        except BackendError as error:
            view.failed(sent_at, error.sentence)
            if not was_away:
                log.warning("LiveKit does not answer; nothing is decided about its rooms", error=str(error))
            return
        if was_away:
            log.info("LiveKit answers again", rooms=len(rooms))
        ours = [room for room in rooms if room.mark is not None and room.mark.cluster == self._backends.cluster_id]
        recount = view.snapshot(ours, sent_at)
        await asyncio.gather(*(self.count(name) for name in recount))

    async def count(self, name: str) -> None:
        """Read who is in the room `name`."""
        async with self._limit:
            sent_at = self._backends.clock.now()
            try:
                people = await self._backends.livekit.client.list_participants(name)
            except BackendError as error:
                log.info("participants could not be listed; next time", room=name, error=str(error))
                return
            self._backends.livekit.view.saw_people(name, people, sent_at)
