"""Which pools are open: those whose namespace has a Match, a Room or a user, and those of the settings.

Signals and heartbeats are read from open pools alone. So a pool is opened although no write asks for it: where a call
goes on or a user waits after a restart, and where Redis lost its data. A pool in which users merely wait calls the
operator when it is new (`triggers.serving`); one in which users waited before we led does not. An operator of the whole
cluster has no list of namespaces. It therefore scans the names of all keys of Redis when it begins to lead, and again
ten minutes after each scan. A scan reads at most 10 000 names a second in twenty steps of 500: less than 1 % of the
server's time, 100 s for a million keys, and no other client waits for more than one step. (An index that `enqueue`
maintains would be in another slot of a Redis Cluster than the pool.)

A pool is closed after ten minutes without an object or a user. Everything that is remembered about it goes with it.
Neighbors: `backends.pools` opens and closes, `backends.namespaces` says whether a pool has a namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inbox import pools_with_people
from controller.clients.redis.inspection import has_people
from controller.errors import BackendError, BackendRefused, BackendUnavailable, LeadershipLost
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

_KEYS_AT_ONCE = 500
_PAUSE_SECONDS = 0.05
SEARCH_AGAIN_SECONDS = 600.0
_IDLE_SECONDS = 600.0
_LOOK_FOR_IDLE_SECONDS = 60.0


class PoolKeeper:
    """Opens and closes the pools of this replica.

    `namespaces` names those of the settings whose objects are in the caches: a pool is restored from the caches, so it
    may not be opened before. Their pools are never closed. None stands for the whole cluster; then the pools are
    searched.
    """

    def __init__(
        self, backends: Backends, interval_seconds: float, namespaces: Callable[[], tuple[str, ...]] | None = None
    ) -> None:
        self._backends = backends
        self._pools = backends.pools
        self._interval_seconds = interval_seconds
        self._namespaces = namespaces
        self._busy_at: dict[str, float] = {}

    async def run(self, pulse: Pulse) -> None:
        """Keep the pools open, and close those that are idle, until cancelled."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + _LOOK_FOR_IDLE_SECONDS
        while True:
            pulse.beat()
            self.open_needed()
            if loop.time() >= look_at:
                await self.close_idle(pulse)
                look_at = loop.time() + _LOOK_FOR_IDLE_SECONDS
            await asyncio.sleep(self._interval_seconds)

    def open_needed(self) -> None:
        """Begin to open each pool that should be open and is not."""
        for namespace in {*self._of_settings(), *self._kept(), *self._backends.calls.namespaces()}:
            self._pools.begin(namespace)

    async def close_idle(self, pulse: Pulse) -> None:
        """Close the pools that nothing has needed for ten minutes."""
        now, kept = asyncio.get_running_loop().time(), self._kept()
        needed = {*self._of_settings(), *(of for cache in self._backends.caches.values() for of, _ in cache.names())}
        self._busy_at = {namespace: self._busy_at.get(namespace, now) for namespace in kept - needed}
        for namespace in sorted(self._busy_at):
            pulse.beat()
            with pulse.item("to close an idle pool", namespace=namespace):
                if await self._has_people(namespace):
                    self._busy_at[namespace] = now
                elif now - self._busy_at[namespace] >= _IDLE_SECONDS:
                    await self._close(namespace)

    async def _close(self, namespace: str) -> None:
        """Close the pool, unless a user comes at this moment."""
        pool = self._pools.unbound(namespace)
        # From now on `enqueue` answers UNSERVED, and asks for the pool.
        await pool.redis.delete(pool.keys.served())
        if await self._has_people(namespace):
            await self._pools.serve(namespace)
            return
        self._pools.release(namespace)
        log.info("a pool is closed: its namespace has had no object and no user for a while", namespace=namespace)

    async def _has_people(self, namespace: str) -> bool:
        """Whether users wait or talk in the pool of a namespace that exists."""
        pool = self._pools.unbound(namespace)
        return await has_people(pool.redis, pool.keys) and await self._backends.namespaces.exists(namespace)

    def _kept(self) -> frozenset[str]:
        return self._pools.kept().union(self._pools.closed())

    def _of_settings(self) -> tuple[str, ...]:
        return self._namespaces() if self._namespaces is not None else ()

    async def run_search(self, pulse: Pulse) -> None:
        """Search until cancelled; for an operator of the whole cluster, which has no list of namespaces."""
        while True:
            pulse.beat()
            pause_seconds = SEARCH_AGAIN_SECONDS
            try:
                await self.search(pulse)
            except BackendRefused as error:
                tell = log.debug if error.is_told else log.warning
                tell("pools with waiting users cannot be searched", error=str(error))
            except (BackendError, LeadershipLost) as error:
                log.debug("pools with waiting users cannot be searched at the moment", error=str(error))
                pause_seconds = self._interval_seconds
            await asyncio.sleep(pause_seconds)

    async def search(self, pulse: Pulse) -> None:
        """Find the pools in which users wait, and open them. Raises BackendError, LeadershipLost."""
        redis = self._pools.unbound("any").redis
        cursor = "0"
        while True:
            pulse.beat()
            cursor, found = await pools_with_people(redis, self._backends.cluster_id, cursor, count=_KEYS_AT_ONCE)
            for namespace in found:
                with pulse.item("to open a pool", namespace=namespace):
                    if await self._backends.namespaces.exists(namespace) or await self._holds_users(namespace):
                        await self._open(namespace)
            if cursor == "0":
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _holds_users(self, namespace: str) -> bool:
        """Whether Matches of a namespace that is gone still hold users: then a sweep has to settle them.

        Only an operator writes `live`, so no gateway with a wrong namespace keeps a pool open.
        """
        pool = self._pools.unbound(namespace)
        return await pool.redis.exists(pool.keys.live())

    async def _open(self, namespace: str) -> None:
        """Open one pool. If Redis refuses, the next search tries again, and this search goes on."""
        try:
            await self._pools.get(namespace)
        except BackendUnavailable:
            raise
        except BackendError as error:
            tell = log.debug if error.retryable or error.is_told else log.warning
            tell("a pool with waiting users cannot be opened", namespace=namespace, error=str(error))
