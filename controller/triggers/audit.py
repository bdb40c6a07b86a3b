"""The slowest witness: it checks that Redis did not lose its data, and that its records agree with our ledgers.

Each round makes a few reads per pool, whatever the number of calls. It reads the incarnation and the fence every time,
so a loss of data is noticed even where nothing is written. For some live calls in turn it reads the users' records and
the room's tombstone.

The auditor also opens pools in which users merely wait, because signals and heartbeats are read from open pools alone.
A pool that is new calls the operator (`triggers.serving`); one in which users waited before we led does not. An
operator of the whole cluster has no list of namespaces. It therefore scans the names of all keys of Redis when it
begins to lead, and again ten minutes after each scan. A scan reads at most 10 000 names a second in twenty steps of
500: less than 1 % of the server's time, 100 s for a million keys, and no other client waits for more than one step. (An
index that `enqueue` maintains would be in another slot of a Redis Cluster than the pool.) Neighbors: `views.audit`
keeps the findings, `triggers.router` wakes the Matches.
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
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.views.calls import Call

log = structlog.get_logger(__name__)

_AT_ONCE = 100
_KEYS_AT_ONCE = 500
_PAUSE_SECONDS = 0.05
SEARCH_AGAIN_SECONDS = 600.0


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

    async def search(self, pulse: Pulse) -> None:
        """Find the pools in which users wait, and open them. Raises BackendError, LeadershipLost."""
        redis = self._backends.pools.unbound("any").redis
        cursor = "0"
        while True:
            pulse.beat()
            cursor, found = await pools_with_people(redis, self._backends.cluster_id, cursor, count=_KEYS_AT_ONCE)
            for namespace in found:
                with pulse.item("to open a pool", namespace=namespace):
                    if await self._backends.namespaces.exists(namespace):
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

    async def run_search(self, pulse: Pulse) -> None:
        """Search until cancelled; for an operator of the whole cluster, which has no list of namespaces."""
        while True:
            pulse.beat()
            pause_seconds = SEARCH_AGAIN_SECONDS
            try:
                await self.search(pulse)
            except BackendRefused as error:
                log.warning("pools with waiting users cannot be searched", error=str(error))
            except (BackendError, LeadershipLost) as error:
                log.debug("pools with waiting users cannot be searched at the moment", error=str(error))
                pause_seconds = self._interval_seconds
            await asyncio.sleep(pause_seconds)

    async def run(self, pulse: Pulse) -> None:
        """Audit until cancelled."""
        while True:
            # Pools that are not open yet are audited too: after a restart, a call that goes on and a user who waits
            # need no write that would open their pool.
            for namespace in {
                *(self._namespaces() if self._namespaces is not None else ()),
                *self._backends.pools.namespaces(),
                *self._backends.pools.closed(),
                *self._backends.calls.namespaces(),
            }:
                pulse.beat()
                with pulse.item("to audit Redis", namespace=namespace):
                    await self.audit(namespace)
            pulse.beat()
            await asyncio.sleep(self._interval_seconds)

    async def audit(self, namespace: str) -> None:
        """One round of one pool. Raises BackendError, LeadershipLost."""
        pool = await self._backends.pools.get(namespace)
        if await pool.has_lost_data():
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
    holders = dict(
        zip(call.identities, await asyncio.gather(*(_holder(pool, who) for who in call.identities)), strict=True)
    )
    has_tombstone = bool(call.livekit_name) and await pool.is_tombstoned(call.livekit_name)
    return AuditFacts(
        taken_away=frozenset(who for who, holder in holders.items() if holder is not None and holder != call.uid),
        unrecorded=frozenset(who for who, holder in holders.items() if holder is None),
        room_has_tombstone=has_tombstone,
    )


async def _holder(pool: Pool, identity: str) -> str | None:
    """The UID of the Match that the user's record names, empty if it names none; None without a record of ours."""
    try:
        return await pool.redis.field(pool.keys.user(identity), "match")
    except BackendRefused:
        return None  # the key has another type
