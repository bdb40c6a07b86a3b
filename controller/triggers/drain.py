"""Gives the calls on servers that are being drained their turns to end: the oldest first, at a bounded rate.

Before the first turns on a server there is a pause, so that participants are told why their call ends before it does.
Neighbors: `views.drains` remembers the turns, `rules.drain` says whether a drain ends calls, the keys of the Matches
end them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from controller.backends.bundle import Backends
from controller.facts.drain import DrainFacts
from controller.loop.wakes import Wake
from controller.rules.drain import ends_calls
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.views.calls import Call

log = structlog.get_logger(__name__)

ROUND_SECONDS = 0.25
FIRST_TURNS_AFTER_SECONDS = 1.0


class DrainPacer:
    """Gives turns while this replica leads: at most `calls_per_second`, on all servers together."""

    def __init__(self, backends: Backends, router: Router, calls_per_second: float) -> None:
        self._backends = backends
        self._router = router
        self._calls_per_second = calls_per_second
        self._allowance = 0.0
        self._due_since: dict[str, float] = {}

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
        due = self._due()
        self._due_since = {drain.id: self._due_since.get(drain.id, now_seconds) for drain in due.values()}
        turns = self._backends.drains
        if not due:
            turns.keep(())
            return
        left = [call for call in self._calls() if call.server in due]
        turns.keep({call.uid for call in left})
        ready = {
            server
            for server, drain in due.items()
            if now_seconds - self._due_since[drain.id] >= FIRST_TURNS_AFTER_SECONDS
        }
        waiting = [call for call in left if call.server in ready and call.is_up and turns.of(call.uid) is None]
        for call in sorted(waiting, key=lambda call: call.since)[: int(self._allowance)]:
            self._allowance -= 1.0
            turns.give(call.uid, self._backends.clock.now())
            self._router.match_woken(call.namespace, call.name, Wake.DRAIN)

    def _due(self) -> Mapping[str, DrainFacts]:
        """The drains that end calls now, by server."""
        now = self._backends.clock.now()
        drains = {server.name: server.facts(now).drain for server in self._backends.servers}
        return {name: drain for name, drain in drains.items() if drain is not None and ends_calls(drain, now)}

    def _calls(self) -> list[Call]:
        calls = self._backends.calls
        return [call for namespace in calls.namespaces() for call in calls.of(namespace)]
