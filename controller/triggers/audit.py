"""The slowest witness: whether Redis is still the one we know, and still says what our ledgers say.

A few reads per pool and round, whatever the number of calls: the incarnation each time (so a loss of data is noticed
also where nothing is being written), and of some live calls in turn the users' records and the room's tombstone.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import structlog

from controller.backends import Backends
from controller.clients.redis.pool import Pool
from controller.errors import BackendError, LeadershipLost
from controller.facts.match import AuditFacts
from controller.loop.key import Key, Kind
from controller.observe.calls import Call
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_AT_ONCE = 100


class Auditor:
    """Reads all pools of this replica in turn; `namespaces` are those it was told to serve, if it was."""

    def __init__(
        self, backends: Backends, router: Router, interval_seconds: float, namespaces: tuple[str, ...]
    ) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        self._namespaces = namespaces
        self._turns: dict[str, Iterator[Call]] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            # Also the pools that nobody has opened yet: signals and heartbeats are read of open ones alone, and after a
            # restart neither a call that goes on nor somebody who waits needs a write.
            for namespace in {
                *self._namespaces,
                *self._backends.pools.namespaces(),
                *self._backends.calls.namespaces(),
            }:
                try:
                    await self.audit(namespace)
                except (BackendError, LeadershipLost) as error:
                    log.debug("Redis cannot be audited at the moment", namespace=namespace, error=str(error))
            await asyncio.sleep(self._interval_seconds)

    async def audit(self, namespace: str) -> None:
        """One round of one pool. Raises BackendError, LeadershipLost."""
        pool = await self._backends.pools.get(namespace)
        if await pool.current_incarnation() != pool.incarnation:
            self._backends.pools.forget(namespace)
            await self._backends.pools.get(namespace)
            return
        calls = [call for call in self._next(namespace) if self._backends.calls.has(namespace, call.uid)]
        findings = await asyncio.gather(*(_look_at(pool, call) for call in calls))
        names = {call.uid: call.name for call in calls}
        for uid in self._backends.audit.found(dict(zip(names, findings, strict=True))):
            self._router.enqueue(Key(Kind.MATCH, namespace, names[uid]), "audit")

    def _next(self, namespace: str) -> list[Call]:
        """The calls whose turn it is; when all have been looked at it begins anew."""
        turn = self._turns.get(namespace) or (call for call in self._backends.calls.of(namespace) if call.is_up)
        chosen = list(itertools.islice(turn, _AT_ONCE))
        self._turns[namespace] = turn
        if len(chosen) < _AT_ONCE:
            del self._turns[namespace]
        return chosen


async def _look_at(pool: Pool, call: Call) -> AuditFacts:
    holders = await asyncio.gather(*(pool.holder(identity) for identity in call.identities))
    strays = {identity for identity, holder in zip(call.identities, holders, strict=True) if holder != call.uid}
    is_buried = bool(call.livekit_name) and await pool.is_tombstoned(call.livekit_name)
    return AuditFacts(frozenset(strays), is_buried)
