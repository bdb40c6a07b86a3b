"""The slowest witness: it checks that Redis did not lose its data, and that its records agree with our ledgers.

Each round makes a few reads per pool, whatever the number of calls. It reads the incarnation every time, so a loss of
data is noticed even where nothing is written. For some live calls in turn it reads the users' records and the room's
tombstone.

The auditor is also the only part that opens a pool in which users merely wait, because signals and heartbeats are read
from open pools alone. An operator of the whole cluster has no list of namespaces. It therefore scans the names of all
keys of Redis when it begins to lead, and again ten minutes after each scan. A scan reads at most 10 000 names a second
in twenty steps of 500: less than 1 % of the server's time, 100 s for a million keys, and no other client waits for more
than one step. (An index that `enqueue` maintains would be in another slot of a Redis Cluster than the pool.) Neighbors:
`views.audit` keeps the findings, `triggers.router` wakes the Matches.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inbox import pools_with_people
from controller.clients.redis.pool import Pool
from controller.errors import BackendError, BackendRefused, BackendUnavailable, LeadershipLost
from controller.facts.match import AuditFacts
from controller.loop.wakes import Wake
from controller.triggers.router import Router
from controller.views.calls import Call

log = structlog.get_logger(__name__)

_AT_ONCE = 100
_KEYS_AT_ONCE = 500
_PAUSE_SECONDS = 0.05
_SEARCH_AGAIN_SECONDS = 600.0


class Auditor:
    """Reads all pools of this replica in turn.

    `namespaces` names those of the settings whose objects are in the caches: a pool is restored from the caches, so it
    may not be opened before. None stands for the whole cluster; then the pools are searched.
    """

    def __init__(
        self,
        backends: Backends,
        router: Router,
        interval_seconds: float,
        namespaces: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        self._namespaces = namespaces
        self._turns: dict[str, Iterator[Call]] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._audit_all())
            if self._namespaces is None:
                group.create_task(self._search())

    async def search(self) -> None:
        """Find the pools in which users wait, and open them. Raises BackendError, LeadershipLost."""
        redis = self._backends.pools.unbound("any").redis
        cursor = "0"
        while True:
            cursor, found = await pools_with_people(redis, self._backends.cluster_id, cursor, count=_KEYS_AT_ONCE)
            for namespace in found:
                await self._open(namespace)
            if cursor == "0":
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _open(self, namespace: str) -> None:
        """Open one pool. If Redis refuses, the next search tries again, and this search goes on."""
        try:
            await self._backends.pools.get(namespace)
        except BackendUnavailable:
            raise
        except BackendError as error:
            tell = log.debug if error.retryable else log.warning
            tell("a pool with waiting users cannot be opened", namespace=namespace, error=str(error))

    async def _search(self) -> None:
        while True:
            pause_seconds = _SEARCH_AGAIN_SECONDS
            try:
                await self.search()
            except BackendRefused as error:
                log.warning("pools with waiting users cannot be searched", error=str(error))
            except (BackendError, LeadershipLost) as error:
                log.debug("pools with waiting users cannot be searched at the moment", error=str(error))
                pause_seconds = self._interval_seconds
            await asyncio.sleep(pause_seconds)

    async def _audit_all(self) -> None:
        while True:
            # Pools that are not open yet are audited too: after a restart, a call that goes on and a user who waits
            # need no write that would open their pool.
            for namespace in {
                *(self._namespaces() if self._namespaces is not None else ()),
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
        findings = await asyncio.gather(*(_audit_call(pool, call) for call in calls))
        names = {call.uid: call.name for call in calls}
        for uid in self._backends.audit.found(dict(zip(names, findings, strict=True))):
            self._router.match_woken(namespace, names[uid], Wake.AUDIT)

    def _next(self, namespace: str) -> list[Call]:
        """The calls whose turn it is. After the last one the turn starts again."""
        turn = self._turns.get(namespace) or (call for call in self._backends.calls.of(namespace) if call.is_up)
        chosen = list(itertools.islice(turn, _AT_ONCE))
        self._turns[namespace] = turn
        if len(chosen) < _AT_ONCE:
            del self._turns[namespace]
        return chosen


async def _audit_call(pool: Pool, call: Call) -> AuditFacts:
    holders = await asyncio.gather(*(pool.holder(identity) for identity in call.identities))
    taken_away = {identity for identity, holder in zip(call.identities, holders, strict=True) if holder != call.uid}
    has_tombstone = bool(call.livekit_name) and await pool.is_tombstoned(call.livekit_name)
    return AuditFacts(frozenset(taken_away), has_tombstone)
