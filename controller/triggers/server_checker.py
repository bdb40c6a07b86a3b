"""Looks at intervals at what a LiveKit server shows beside its rooms: clock, `auto_create`, version.

Only words in a status follow from it. Neighbors: `triggers.poll` lists the rooms, and says whether the server answers;
`clients.livekit_checks` asks; `app.pollers` runs one per server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from controller.backends.servers import Server
from controller.clients.livekit_checks import LiveKitChecks
from controller.errors import Forbidden
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router

CHECK_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0
# Another version may run behind the URL of several nodes, without a moment in which none of them answers.
_VERSION_SECONDS: Final = 600.0


class ServerChecker:
    """Checks one server while this replica leads: at intervals, and when it begins or ceases to answer.

    `began` is called when it begins.
    """

    def __init__(self, server: Server, checks: LiveKitChecks, router: Router, began: Callable[[], None]) -> None:
        self._server = server
        self._checks = checks
        self._router = router
        self._began = began
        self._version_at = float("-inf")

    async def run(self, pulse: Pulse) -> None:
        """Check until cancelled."""
        time = asyncio.get_running_loop().time
        was_answering: bool | None = None
        checked_at = float("-inf")
        while True:
            pulse.beat()
            answers = self._server.error is None and self._server.view.was_listed
            if answers is not was_answering or time() - checked_at >= CHECK_SECONDS:
                with pulse.item("to check a LiveKit server", server=self._server.name):
                    await self.check(renew=answers is not was_answering)
                if answers and not was_answering:
                    self._began()
                was_answering, checked_at = answers, time()
            await asyncio.sleep(_LOOK_SECONDS)

    async def check(self, *, renew: bool = False) -> None:
        """Check once. With `renew` the version is asked for again, whenever it was last."""
        server, before = self._server, self._server.health
        if server.error is not None:
            # LiveKit refuses a wrong clock as it refuses a wrong key.
            is_refused = isinstance(server.error, Forbidden)
            ahead = await self._checks.clock_ahead_seconds() if is_refused else None
            server.health = replace(before, latency_ms=None, clock_ahead_seconds=ahead)
        elif server.view.was_listed:
            now = asyncio.get_running_loop().time()
            version = before.version
            if renew or now - self._version_at >= _VERSION_SECONDS:
                version, self._version_at = await self._checks.version(), now
            found = await self._checks.auto_create()
            is_known = before.auto_create if found is None else found
            server.health = replace(server.health, clock_ahead_seconds=None, auto_create=is_known, version=version)
        latency = before.latency_ms
        if replace(server.health, latency_ms=latency) != before:
            self._router.server_told(server.name)
