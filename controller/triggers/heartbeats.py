"""Heartbeats as a witness: one read per interval and pool tells who has fallen silent.

Whoever waits and is silent leaves the queue; whoever is in a call has their Match woken up, and what follows is the
planner's decision (`rules.timeouts`). Where LiveKit says that media is up, the gateway is in trouble: that is told of.
While Redis is away nobody can beat, so of what was not heard then nothing is concluded.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.replies.inbox import Expiry
from controller.errors import BackendError, BackendRefused, LeadershipLost
from controller.facts.time import milliseconds
from controller.loop.key import Key, Kind
from controller.telemetry import metrics
from controller.triggers.router import Router
from controller.views.calls import Call

log = structlog.get_logger(__name__)


class Listening:
    """For how long a pool has been read without a gap: silence counts only where somebody listened."""

    def __init__(self, silence_seconds: float) -> None:
        self._silence = timedelta(seconds=silence_seconds)
        self._since: dict[str, datetime] = {}
        self._last: dict[str, datetime] = {}

    def read(self, namespace: str, at: datetime) -> bool:
        """Whether a read at that moment may find somebody silent who was not before."""
        if at - self._last.get(namespace, datetime.min.replace(tzinfo=at.tzinfo)) > self._silence / 2:
            self._since[namespace] = at
        self._last[namespace] = at
        return at - self._since[namespace] >= self._silence


class HeartbeatReader:
    """Reads all pools of this replica."""

    def __init__(self, backends: Backends, router: Router, interval_seconds: float) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        self._listening = Listening(backends.heartbeats.after_seconds)
        self._refused: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            for namespace in self._backends.pools.namespaces():
                try:
                    await self._read(namespace)
                except BackendRefused as error:
                    log.warning("heartbeats cannot be read", namespace=namespace, error=str(error))
                except (BackendError, LeadershipLost) as error:
                    log.debug("heartbeats cannot be read at the moment", namespace=namespace, error=str(error))

    async def _read(self, namespace: str) -> None:
        view = self._backends.heartbeats
        inbox = Inbox(self._backends.pools.unbound(namespace))
        read = await inbox.silent(
            view.cursor(namespace), for_seconds=view.after_seconds, late_after_seconds=view.late_after_seconds
        )
        now = self._backends.clock.now()
        heard = view.heard(namespace, read, now, is_listened_to=self._listening.read(namespace, now))
        if heard.doubted:
            metrics.heartbeats_doubted.inc(heard.doubted)
            log.warning(
                "many heartbeats stopped at once: a gateway is in trouble, and nobody counts as lost for it",
                namespace=namespace,
                users=heard.doubted,
            )
        if heard.newly_silent:
            self._wake(namespace, set(heard.newly_silent))
        if silent := set(view.silent(namespace)):
            held = {who for call in self._backends.calls.of(namespace) for who in call.identities}
            await self._expire(namespace, silent - held)

    def _wake(self, namespace: str, silent: set[str]) -> None:
        for call in self._backends.calls.of(namespace):
            if silent.isdisjoint(call.identities):
                continue
            self._report(namespace, call, silent)
            self._router.enqueue(Key(Kind.MATCH, namespace, call.name), "heartbeat")

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
        """Whoever once beat, and waits without a word, waits no more."""
        pool = await self._backends.pools.get(namespace)
        last_beat_ms = self._backends.heartbeats.silent(namespace)
        now_ms = milliseconds(self._backends.clock.now())
        for who in sorted(silent):
            try:
                reply = await Inbox(pool).expire(who, last_beat_ms[who], now_ms=now_ms)
            except BackendRefused as error:
                self._tell_of_refusal(namespace, who, error)
                continue
            self._backends.pools.check(namespace, reply)
            if reply is not Expiry.HELD:
                self._backends.heartbeats.forget(namespace, who)
                self._refused.discard((namespace, who))
            if reply is Expiry.IDLE:
                metrics.waiters_expired.inc()
                log.info("somebody waited without a word and left the queue", namespace=namespace, identity=who)

    def _tell_of_refusal(self, namespace: str, who: str, error: BackendRefused) -> None:
        """Once: what can never be done is tried at every interval, and keeps nobody else in the queue."""
        tell = log.debug if (namespace, who) in self._refused else log.warning
        tell("somebody silent cannot leave the queue", namespace=namespace, identity=who, error=str(error))
        self._refused.add((namespace, who))
