"""Heartbeats as a witness: one read per interval and pool tells which users have stopped sending them.

A silent user who waits leaves the queue. A silent user in a call has their Match woken, and the planner decides what
follows (`rules.timeouts`). Where LiveKit says that media is up, the gateway is in trouble, and a warning says so. While
Redis is away no client can send heartbeats, so silence from that time counts for nothing. Neighbors: `views.heartbeats`
keeps who is silent, `clients.redis.inbox` reads.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from functools import partial

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.replies.inbox import Expiry
from controller.errors import BackendRefused
from controller.facts.time import milliseconds
from controller.loop.wakes import Wake
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.triggers.side_by_side import side_by_side
from controller.views.calls import Call

log = structlog.get_logger(__name__)


class ReadGaps:
    """How long each pool has been read without a gap. Silence counts only where we listened all the time.

    Times are in seconds and of a clock that is never set, such as that of the event loop.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._since: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def keep(self, namespaces: Collection[str]) -> None:
        """Forget the pools of all other namespaces."""
        for known in (self._since, self._last):
            for namespace in known.keys() - set(namespaces):
                del known[namespace]

    def read(self, namespace: str, at: float) -> bool:
        """Note a read of a pool. Whether it may find users silent who were not silent before."""
        if at - self._last.get(namespace, -math.inf) > self._silence_seconds / 2:
            self._since[namespace] = at
        self._last[namespace] = at
        return at - self._since[namespace] >= self._silence_seconds


class HeartbeatReader:
    """Reads all pools of this replica."""

    def __init__(self, backends: Backends, router: Router, interval_seconds: float) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        self._gaps = ReadGaps(backends.heartbeats.after_seconds)
        self._refused: set[tuple[str, str]] = set()

    async def run(self, pulse: Pulse) -> None:
        """Read until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            self._forget_closed()
            await side_by_side(partial(self._try, pulse), self._backends.pools.namespaces())
            pulse.beat()

    async def _try(self, pulse: Pulse, namespace: str) -> None:
        pulse.beat()
        with pulse.item("to read heartbeats", namespace=namespace):
            try:
                await self._read(namespace)
            except BackendRefused as error:
                tell = log.debug if error.is_told else log.warning
                tell("heartbeats cannot be read", namespace=namespace, error=str(error))

    def _forget_closed(self) -> None:
        """Forget what belongs to pools that were closed."""
        kept = self._backends.pools.kept()
        self._gaps.keep(kept)
        self._backends.heartbeats.keep(kept)
        self._refused = {refused for refused in self._refused if refused[0] in kept}

    async def _read(self, namespace: str) -> None:
        view = self._backends.heartbeats
        inbox = Inbox(self._backends.pools.unbound(namespace))
        read = await inbox.silent(
            view.cursor(namespace), for_seconds=view.after_seconds, late_after_seconds=view.late_after_seconds
        )
        is_listened_to = self._gaps.read(namespace, asyncio.get_running_loop().time())
        heard = view.heard(namespace, read, is_listened_to=is_listened_to)
        if heard.doubted:
            metrics.heartbeats_doubted.inc(heard.doubted)
            log.warning(
                "many heartbeats stopped at once: a gateway is in trouble, and no user counts as lost for it",
                namespace=namespace,
                users=heard.doubted,
            )
        if heard.newly_silent:
            self._wake(namespace, set(heard.newly_silent))
        silent = set(view.silent(namespace))
        self._refused = {(of, who) for of, who in self._refused if of != namespace or who in silent}
        if silent:
            held = {who for call in self._backends.calls.of(namespace) for who in call.identities}
            await self._expire(namespace, silent - held)

    def _wake(self, namespace: str, silent: set[str]) -> None:
        for call in self._backends.calls.of(namespace):
            if silent.isdisjoint(call.identities):
                continue
            self._report(namespace, call, silent)
            self._router.match_woken(namespace, call.name, Wake.HEARTBEAT)
            if not silent.isdisjoint(call.inside):
                self._router.match_suspected(namespace, call.name)

    @staticmethod
    def _report(namespace: str, call: Call, silent: set[str]) -> None:
        for who in sorted(silent.intersection(call.inside)):
            metrics.heartbeats_contradicted.inc()
            log.warning(
                "heartbeats stopped, and LiveKit says that media is up: the gateway is in trouble, not the call",
                key=f"{namespace}/{call.name}",
                identity=who,
            )

    async def _expire(self, namespace: str, silent: set[str]) -> None:
        """Take silent users who once sent heartbeats out of the queue."""
        pool = self._backends.pools.opened(namespace)
        last_beat_ms = self._backends.heartbeats.silent(namespace)
        now_ms = milliseconds(self._backends.clock.now())
        for who in sorted(silent):
            try:
                reply = await Inbox(pool).expire(who, last_beat_ms[who], now_ms=now_ms)
            except BackendRefused as error:
                self._warn_of_refusal(namespace, who, error)
                continue
            self._backends.pools.check(namespace, reply)
            if reply is not Expiry.HELD:
                self._backends.heartbeats.forget(namespace, who)
                self._refused.discard((namespace, who))
            if reply is Expiry.IDLE:
                metrics.waiters_expired.inc()
                log.info("a waiting user was silent and left the queue", namespace=namespace, identity=who)

    def _warn_of_refusal(self, namespace: str, who: str, error: BackendRefused) -> None:
        """Warn once per user: the removal is tried again at every interval, and the others are removed all the same."""
        tell = log.debug if error.is_told or (namespace, who) in self._refused else log.warning
        tell("a silent user cannot be taken out of the queue", namespace=namespace, identity=who, error=str(error))
        self._refused.add((namespace, who))
