"""The second witness: one bulk ListRooms per LiveKit server and interval, whatever the number of Matches.

ListParticipants follows only where a count changed, a participant is still joining, or another witness contradicts the
list (`triggers.counts`). With more than 2 500 rooms the pauses grow in proportion, so that all lists together cost the
same. A server that has just stopped answering is asked many times a second: if it comes back without its rooms, they
have to be restored before the clients give up. Once the breaker of its client is open, the pauses are as long as those
of the breaker: a tenth of a second at most in the first half minute, and then a second at most. Neighbors:
`views.livekit` keeps the answers, `triggers.router` wakes the keys.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controller.announce.error_records import ErrorRecords
from controller.api.names import may_be_livekit_room_name
from controller.backends.servers import Server
from controller.clock import Clock
from controller.errors import BackendError, BackendRefused, Forbidden
from controller.facts.livekit import LiveKitRoom
from controller.facts.observation import Absent, Unknown
from controller.rules.stale import is_stale
from controller.telemetry.pulse import LoopName, Pulse
from controller.triggers.counts import RoomCounts
from controller.triggers.probe import Prober
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.2
_EAGER_SECONDS = 0.03
# A server that is away is asked at least as often as this: for as long as clients may still come back by themselves,
# and afterwards, or while it refuses our key.
_QUICK_SECONDS = 0.1
_PATIENT_SECONDS = 1.0
# A server that was away for longer may have been restarted; a request that fails now and then means nothing.
_WAS_AWAY = timedelta(seconds=1)
# LiveKit's clients give up after 13 to 29 s.
_EAGER_FOR = timedelta(seconds=30)
# To list a thousand rooms costs 5 ms of CPU here, and as much in LiveKit: beyond this many they are listed less often.
_ROOMS_PER_INTERVAL = 2500
_LONGEST_INTERVALS = 4


class Poller:
    """Reads one server while this replica leads: `list_rooms` once, then `run` until the lease is lost.

    `errors` records requests that fail. `key_refused` is called when LiveKit refuses the API key.
    """

    def __init__(
        self,
        server: Server,
        router: Router,
        clock: Clock,
        cluster_id: str,
        interval_seconds: float,
        errors: ErrorRecords,
        key_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._errors = errors
        self._server = server
        self._router = router
        self._clock = clock
        self._cluster_id = cluster_id
        self._interval_seconds = interval_seconds
        self._key_refused = key_refused
        self._doubted: set[str] = set()
        self._counts = RoomCounts(self.count)
        self._listed = 0
        self._is_stale = False
        self._is_running = False
        self._failed_at: datetime | None = None
        self._prober = Prober(server, clock)
        server.view.follow(doubted=self._doubt, suspected=self._suspect)

    def _doubt(self, name: str) -> None:
        """Read in a moment who is in the room `name`, once for all doubts until then. Only the leader counts."""
        if not self._is_running:
            return
        if not self._doubted:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._count_doubted)
        self._doubted.add(name)

    def _suspect(self, name: str) -> None:
        """Probe the people in the room `name`. Only the leader does."""
        if not self._is_running:
            return
        if self._server.view.ghosts.of(name):
            self._prober.verify(name)
        self._prober.suspect(name, self._clock.now())

    def _count_doubted(self) -> None:
        names, self._doubted = self._doubted, set()
        if self._is_running:
            self._counts.ask(names, is_doubted=True)

    async def run(self, pulse: Pulse) -> None:
        """Poll until cancelled; then the counts that are under way end as well."""
        try:
            while True:
                pulse.beat()
                with pulse.item("to list the rooms", server=self._server.name):
                    await self.poll()
                # Replicas do not all ask at one moment.
                jitter = random.uniform(0.9, 1.1)  # noqa: S311 (no secret depends on it)
                await asyncio.sleep(self._pause_seconds() * jitter)
        finally:
            self._is_running = False
            await self._counts.close()
            await self._prober.close()

    def clock_was_set(self) -> None:
        """The moments of earlier probes mean nothing any longer."""
        self._prober.clock_was_set()

    async def poll(self) -> None:
        """One round: all rooms, then the people of those that changed.

        The next list does not wait for a server that answers slowly.
        """
        self._is_running = True
        await self.list_rooms()
        await self._counts.rest(self._interval_seconds)

    async def list_rooms(self) -> None:
        """Read all rooms. While it runs, it begins to read the people of those that changed."""
        view, client = self._server.view, self._server.client
        sent_at = self._clock.now()
        was_away, was_listed, away_since = bool(view.failure), view.was_listed, view.silent_since
        began = asyncio.get_running_loop().time()
        try:
            rooms = await client.list_rooms()
        except BackendError as error:
            view.failed(sent_at, error.sentence)
            self._server.error = error
            if isinstance(error, Forbidden):
                self._key_refused()
            self._failed_at = self._failed_at or sent_at
            self._errors.loop_failed(LoopName.POLL, error, {"server": self._server.name})
            if not was_away:
                tell = log.debug if error.is_told else log.warning
                tell("the rooms of a LiveKit server cannot be listed", server=self._server.name, error=str(error))
                self._router.server_told(self._server.name)
            self._announce_staleness()
            return
        if was_away:
            log.debug("the rooms of a LiveKit server are listed again", server=self._server.name, rooms=len(rooms))
        latency_ms = round(1000 * (asyncio.get_running_loop().time() - began))
        self._server.error, self._server.health = None, replace(self._server.health, latency_ms=latency_ms)
        self._listed = len(rooms)
        waiting = self._waiting(sent_at) if was_away or not was_listed else []
        recount: list[str] = []
        ours, others = self._divided(rooms)
        for found in view.in_slices(ours, sent_at):
            if found is None:
                await asyncio.sleep(0)  # thousands of rooms must not hold up everything else
            else:
                recount = found
        view.unmarked = frozenset(room.name for room in others if self._may_be_revived(room))
        view.prune(self._router.has_room)
        is_missing = {name: isinstance(view.room(name, sent_at), Absent) for name in waiting}
        self._router.rooms_lost(name for name in waiting if is_missing[name])
        (self._router.rooms_changed if was_listed else self._router.rooms_found)(
            name for name in waiting if not is_missing[name]
        )
        self._announce_staleness()
        if away_since is not None and self._failed_at is not None and sent_at - self._failed_at >= _WAS_AWAY:
            self._prober.suspect_all(away_since)
        if was_away or not was_listed:
            self._router.server_told(self._server.name)
        self._failed_at = None
        self._prober.round(sent_at)
        if self._is_running:
            self._counts.ask_unread(name for name in recount if view.is_unread(name))
            self._counts.ask(name for name in recount if not view.is_unread(name))

    def tell_of_lost(self) -> None:
        """Tell again which rooms are known to be missing: while no key was taken, nobody heard of it."""
        view, now = self._server.view, self._clock.now()
        names = self._router.livekit_names(self._server.name)
        self._router.rooms_lost(name for name in names if isinstance(view.room(name, now), Absent))

    async def count(self, name: str) -> None:
        """Read who is in the room `name`."""
        sent_at = self._clock.now()
        try:
            people = await self._server.client.list_participants(name)
        except BackendError as error:
            tell = log.debug if error.is_told else log.info
            tell("participants could not be listed; next time", room=name, error=str(error))
            return
        self._server.view.saw_people(name, people, sent_at)

    def _pause_seconds(self) -> float:
        silent_since, breaker = self._server.view.silent_since, self._server.client.breaker
        is_short = silent_since is not None and self._clock.now() - silent_since <= _EAGER_FOR
        if not breaker.is_closed:
            usual = breaker.usual_pause_seconds(asyncio.get_running_loop().time())
            longest = _QUICK_SECONDS if is_short else _PATIENT_SECONDS
            return min(max(usual, _EAGER_SECONDS), longest, self._interval_seconds)
        if not is_short:
            return self._interval_seconds * min(max(1.0, self._listed / _ROOMS_PER_INTERVAL), _LONGEST_INTERVALS)
        refuses = isinstance(self._server.error, BackendRefused)
        return min(_PATIENT_SECONDS if refuses else _EAGER_SECONDS, self._interval_seconds)

    def _divided(self, rooms: Iterable[LiveKitRoom]) -> tuple[list[LiveKitRoom], list[LiveKitRoom]]:
        """The rooms with a mark of this cluster, or with the name of a Room of ours whatever they carry; the others."""
        ours: list[LiveKitRoom] = []
        others: list[LiveKitRoom] = []
        cluster, has_room = self._cluster_id, self._router.has_room
        for room in rooms:
            is_ours = (room.mark is not None and room.mark.cluster == cluster) or has_room(room.name)
            (ours if is_ours else others).append(room)
        return ours, others

    def _may_be_revived(self, room: LiveKitRoom) -> bool:
        """Whether another room may be one of ours that a client has made again after its Room was gone."""
        is_unknown = room.mark is None and not self._router.has_room(room.name)
        return is_unknown and may_be_livekit_room_name(room.name)

    def _waiting(self, now: datetime) -> list[str]:
        """Rooms about which nothing is known: the first list decides what they wait for."""
        view = self._server.view
        return [
            name for name in self._router.livekit_names(self._server.name) if isinstance(view.room(name, now), Unknown)
        ]

    def _announce_staleness(self) -> None:
        """Wake all Rooms of the server when it has been silent for too long, and when it answers again."""
        stale = is_stale(self._server.view.silent_since, self._clock.now())
        if stale is not self._is_stale:
            self._is_stale = stale
            self._router.server_changed(self._server.name)
