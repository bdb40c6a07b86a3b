"""The slowest witness: whether Redis is still the one we know, and still says what our ledgers say.

A few reads per pool and round, whatever the number of calls: the incarnation each time (so a loss of data is noticed
also where nothing is being written), and of some live calls in turn the users' records and the room's tombstone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from controller.api.match import Match
from controller.api.phases import MatchPhase
from controller.backends import Backends
from controller.clients.redis.pool import Pool
from controller.errors import BackendError, LeadershipLost
from controller.facts.match import AuditFacts
from controller.loop.key import Key, Kind
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_AT_ONCE = 100
_UP = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


class Auditor:
    """Reads all pools of this replica in turn."""

    def __init__(self, backends: Backends, router: Router, interval_seconds: float) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        self._turns: dict[str, Iterator[Match]] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            for namespace in self._backends.pools.namespaces():
                try:
                    await self.audit(namespace)
                except (BackendError, LeadershipLost) as error:
                    log.debug("Redis cannot be audited at the moment", namespace=namespace, error=str(error))

    async def audit(self, namespace: str) -> None:
        """One round of one pool. Raises BackendError, LeadershipLost."""
        pool = await self._backends.pools.get(namespace)
        if await pool.current_incarnation() != pool.incarnation:
            self._backends.pools.forget(namespace)
            await self._backends.pools.get(namespace)
            return
        matches = self._next(namespace)
        findings = await asyncio.gather(*(self._look_at(pool, match) for match in matches))
        names = {match.metadata.uid: match.metadata.name for match in matches}
        for uid in self._backends.audit.found(dict(zip(names, findings, strict=True))):
            self._router.enqueue(Key(Kind.MATCH, namespace, names[uid]), "audit")

    def _next(self, namespace: str) -> list[Match]:
        """The calls whose turn it is; when all have been looked at it begins anew."""
        turn = self._turns.get(namespace) or iter(self._backends.matches.in_namespace(namespace))
        chosen: list[Match] = []
        for match in turn:
            if match.status.phase in _UP:
                chosen.append(match)
            if len(chosen) == _AT_ONCE:
                self._turns[namespace] = turn
                return chosen
        self._turns.pop(namespace, None)
        return chosen

    async def _look_at(self, pool: Pool, match: Match) -> AuditFacts:
        room = match.status.room.live_kit_name if match.status.room is not None else None
        holders = await asyncio.gather(*(pool.holder(identity) for identity in match.spec.identities))
        strays = {
            identity
            for identity, holder in zip(match.spec.identities, holders, strict=True)
            if holder != match.metadata.uid
        }
        return AuditFacts(frozenset(strays), bool(room) and await pool.is_tombstoned(str(room)))
