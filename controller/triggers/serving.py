"""Which pools we serve: gateways read it in the key `served`, and ask for pools that are not served yet.

`served` expires some minutes after the last renewal, so `enqueue` answers UNSERVED where no operator is left. The same
answer comes from a pool that is new, and then the script publishes the pool's namespace: no key could tell us, because
we do not know the pool. Neighbors: `backends.pools` opens pools and writes the key, `backends.namespaces` says whether
a pool has a namespace, `triggers.audit` finds pools in which users waited before we led.
"""

from __future__ import annotations

import asyncio

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.keys import unserved_channel
from controller.errors import BackendError, LeadershipLost

log = structlog.get_logger(__name__)

_RENEW_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_MOST_ASKED = 1000


class Serving:
    """Renews `served` for the open pools, and opens those that gateways ask for.

    `namespaces` are those of the settings; empty for the whole cluster.
    """

    def __init__(self, backends: Backends, namespaces: tuple[str, ...]) -> None:
        self._backends = backends
        self._namespaces = frozenset(namespaces)
        self._asked: set[str] = set()
        self._is_asked = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            group.create_task(self._listen())
            group.create_task(self._open_asked())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            for namespace in self._backends.pools.namespaces():
                try:
                    await self._backends.pools.serve(namespace)
                except (BackendError, LeadershipLost) as error:
                    log.debug("a pool cannot be served at the moment", namespace=namespace, error=str(error))

    async def _listen(self) -> None:
        redis = self._backends.pools.unbound("any").redis
        while True:
            try:
                await redis.listen(unserved_channel(self._backends.cluster_id), self._ask)
            except BackendError as error:
                log.debug("gateways cannot be listened to at the moment", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    def _ask(self, namespace: str) -> None:
        if self._namespaces and namespace not in self._namespaces:
            return
        # A gateway that is refused asks again, so a namespace that has no room here is heard later.
        if len(self._asked) < _MOST_ASKED:
            self._asked.add(namespace)
            self._is_asked.set()

    async def _open_asked(self) -> None:
        while True:
            await self._is_asked.wait()
            self._is_asked.clear()
            asked, self._asked = self._asked, set()
            for namespace in sorted(asked):
                try:
                    await self._open(namespace)
                except (BackendError, LeadershipLost) as error:
                    tell = log.debug if not isinstance(error, BackendError) or error.retryable else log.warning
                    tell("a pool that a gateway asked for cannot be opened", namespace=namespace, error=str(error))

    async def _open(self, namespace: str) -> None:
        if not self._namespaces and not await self._backends.namespaces.exists(namespace):
            return
        pools = self._backends.pools
        if namespace in pools.namespaces():
            await pools.serve(namespace)  # the key alone was lost
        else:
            await pools.get(namespace)
