"""Gives the calls and standing Rooms on servers that are being drained their turns to end: the oldest first, at a
bounded rate.

Before the first turns on a server there is a pause, so that participants are told why their call ends before it does.
Neighbors: `views.drains` remembers the turns, `rules.drain` says whether a drain ends calls, the keys of the Matches
end them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM
from controller.backends.bundle import Backends
from controller.backends.servers import Server
from controller.facts.drain import DrainFacts
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.rules.drain import ends_calls
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.views.calls import Call
from controller.views.placements import StandingRoom

log = structlog.get_logger(__name__)

ROUND_SECONDS = 0.5
FIRST_TURNS_AFTER_SECONDS = 1.0


class DrainPacer:
    """Gives turns while this replica leads: at most `calls_per_second`, on all servers together.

    `namespace` is that of the LiveKitServers."""

    def __init__(self, backends: Backends, router: Router, calls_per_second: float, namespace: str) -> None:
        self._backends = backends
        self._router = router
        self._calls_per_second = calls_per_second
        self._namespace = namespace
        self._allowance = 0.0
        self._due_since: dict[str, float] = {}
        self._left: dict[str, int] = {}

    async def run(self, pulse: Pulse) -> None:
        """Give turns until cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            pulse.beat()
            with pulse.item("to end calls on servers that are drained"):
                self.round(asyncio.get_running_loop().time())

    def round(self, now_seconds: float) -> None:
        """One round, at this time of a monotonic clock."""
        # What was not used is not saved for later, but for fractions of a call.
        self._allowance = min(self._allowance, 1.0) + self._calls_per_second * ROUND_SECONDS
        self._report()
        due = self._due()
        self._due_since = {drain.id: self._due_since.get(drain.id, now_seconds) for drain in due.values()}
        turns = self._backends.drains
        if not due:
            turns.keep(())
            return
        left = [call for server in due for call in self._backends.calls.on(server)]
        standing = [room for server in due for room in self._backends.servers.standing(server)]
        turns.keep({call.uid for call in left} | {room.uid for room in standing})
        ready = {
            server
            for server, drain in due.items()
            if now_seconds - self._due_since[drain.id] >= FIRST_TURNS_AFTER_SECONDS
        }
        waiting: list[Call | StandingRoom] = [call for call in left if call.is_up]
        waiting += standing
        waiting = [one for one in waiting if one.server in ready and turns.of(one.uid) is None]
        for one in sorted(waiting, key=lambda one: one.since)[: int(self._allowance)]:
            self._allowance -= 1.0
            turns.give(one.uid, self._backends.clock.now())
            kind = MATCH if isinstance(one, Call) else ROOM
            self._router.object_woken(Key(kind, one.namespace, one.name), Wake.DRAIN)

    def _due(self) -> Mapping[str, DrainFacts]:
        """The drains that end calls now, by server."""
        now = self._backends.clock.now()
        drains = {server.name: server.facts(now).drain for server in self._backends.servers}
        return {name: drain for name, drain in drains.items() if drain is not None and ends_calls(drain, now)}

    def _report(self) -> None:
        """Wake the key of a server that is drained or deleted when its last call has ended, or it has calls again."""
        watched = [one for one in self._backends.servers if one.drain is not None or one.is_leaving]
        left = {server.name: self._left_on(server) for server in watched}
        for name, count in left.items():
            if (count == 0) is not (self._left.get(name) == 0):
                self._router.object_woken(Key(LIVEKIT_SERVER, self._namespace, name), Wake.DRAIN)
        self._left = left

    def _left_on(self, server: Server) -> int:
        """How many calls, rooms of calls and participants are left; of a server that is being deleted, all rooms."""
        servers, name = self._backends.servers, server.name
        inside = sum(room.num_participants for room in server.view.listed() if room.mark is not None)
        rooms = servers.count(name) - (0 if server.is_leaving else len(servers.standing(name)))
        return inside + rooms + sum(1 for _ in self._backends.calls.on(name))
