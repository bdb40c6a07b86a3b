"""/livez, /readyz and /metrics: on a port of their own, and never dependent on LiveKit or Redis.

Alive: the event loop keeps up, and every background loop comes round. Ready: the caches are synced, so the operator can
receive webhooks and, once it holds the lease, work on keys. An outage of a backend freezes decisions; restarting the
pod would not help. Credentials that the API server refuses are no outage: nothing works until a person acts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from controller.telemetry import metrics
from controller.telemetry.exposition import exposition
from controller.telemetry.pulse import Pulse, Pulses

_TICK_SECONDS = 0.5
_MAX_LAG_SECONDS = 10.0


class Health:
    """The state that the probes report. `problem` says what makes the replica useless; empty if nothing does."""

    def __init__(self, pulses: Pulses, problem: Callable[[], str] = str) -> None:
        self._pulses = pulses
        self._problem = problem
        self.is_synced = False
        self.is_stopping = False
        self._last_tick = time.monotonic()
        self._shown: list[Callable[[], None]] = []

    def show(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each answer of /metrics: it sets gauges that are cheaper to compute than to keep."""
        self._shown.append(refresh)

    def synced(self) -> None:
        """Note that the caches hold everything that the API server has."""
        self.is_synced = True

    def stopping(self) -> None:
        """Note that the operator stops: it is no longer ready for traffic."""
        self.is_stopping = True

    async def run(self, pulse: Pulse) -> None:
        """Measure how late the event loop wakes up, until cancelled."""
        while True:
            pulse.beat()
            before = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self._last_tick = time.monotonic()
            metrics.loop_lag_seconds.set(max(0.0, self._last_tick - before - _TICK_SECONDS))

    async def livez(self, _request: web.Request) -> web.Response:
        """200 while the event loop keeps up and every background loop comes round."""
        lag_seconds = time.monotonic() - self._last_tick
        if lag_seconds > _MAX_LAG_SECONDS:
            return web.Response(status=503, text=f"the event loop has been stuck for {lag_seconds:.0f} s\n")
        if overdue := self._pulses.overdue():
            lines = (f"the loop {pulse.name} has not come round for {pulse.age_seconds:.0f} s\n" for pulse in overdue)
            return web.Response(status=503, text="".join(lines))
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 once the caches are synced, until the operator stops, and while the API server knows it."""
        if self.is_stopping:
            return web.Response(status=503, text="stopping\n")
        if not self.is_synced:
            return web.Response(status=503, text="the first LIST of matches and rooms is not complete\n")
        if problem := self._problem():
            return web.Response(status=503, text=f"{problem}\n")
        return web.Response(text="ok\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """All metrics, in OpenMetrics or in Prometheus' text format."""
        metrics.loop_age_seconds.clear()
        metrics.loop_overdue_seconds.clear()
        for name, (age_seconds, overdue_seconds) in self._pulses.ages().items():
            metrics.loop_age_seconds.labels(name).set(age_seconds)
            metrics.loop_overdue_seconds.labels(name).set(overdue_seconds)
        for refresh in self._shown:
            refresh()
        text = exposition(",".join(request.headers.getall("Accept", ())))
        return web.Response(body=text.body, headers={"Content-Type": text.content_type, "Vary": "Accept"})

    def add_routes(self, app: web.Application) -> None:
        """Add the three endpoints to `app`."""
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)
