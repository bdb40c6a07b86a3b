"""Which pools we serve: gateways read it in the key `served`, and ask for pools that are not served yet.

`served` expires some minutes after the last renewal, so `enqueue` answers UNSERVED where no operator is left. The same
answer comes from a pool that is new, and then the script publishes the pool's namespace: no key could tell us, because
we do not know the pool. Neighbors: `backends.pools` opens pools and writes the key, `backends.namespaces` says whether
a pool has a namespace, `triggers.keeper` finds pools in which users waited before we led.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.keys import unserved_channel
from controller.errors import BackendRefused
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

RENEW_SECONDS: Final = 60.0
"""The pause between two renewals."""
_RETRY_SECONDS = 1.0
_LOOK_UP_SECONDS = 5.0
_MOST_ASKED = 1000
_AT_ONCE = 32


class Serving:
    """Renews `served` for the open pools, and opens those that gateways ask for.

    `namespaces` are those of the settings; empty for the whole cluster.
    """

    def __init__(self, backends: Backends, namespaces: tuple[str, ...]) -> None:
        self._backends = backends
        self._namespaces = frozenset(namespaces)
        self._asked: set[str] = set()
        self._is_asked = asyncio.Event()

    async def renew(self, pulse: Pulse) -> None:
        """Renew `served` for the open pools until cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            pulse.beat()
            for namespace in self._backends.pools.namespaces():
                pulse.beat()
                with pulse.item("to renew the key served", namespace=namespace):
                    await self._backends.pools.serve(namespace)

    async def listen(self, pulse: Pulse) -> None:
        """Listen to gateways that ask for a pool until cancelled."""
        redis = self._backends.pools.unbound("any").redis
        while True:
            pulse.beat()
            with pulse.item("to listen to gateways"):
                await redis.listen(unserved_channel(self._backends.cluster_id), self._ask, alive=pulse.beat)
            await asyncio.sleep(_RETRY_SECONDS)

    def _ask(self, namespace: str) -> None:
        if self._namespaces and namespace not in self._namespaces:
            return
        # A gateway that is refused asks again, so a namespace that has no room here is heard later.
        if len(self._asked) < _MOST_ASKED:
            self._asked.add(namespace)
            self._is_asked.set()

    async def open_asked(self, pulse: Pulse) -> None:
        """Open the pools that gateways ask for until cancelled."""
        while True:
            pulse.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_asked.wait(), _LOOK_UP_SECONDS)
            self._is_asked.clear()
            asked, self._asked = self._asked, set()
            hands = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._try_to_open(namespace, pulse, hands) for namespace in sorted(asked)))

    async def _try_to_open(self, namespace: str, pulse: Pulse, hands: asyncio.Semaphore) -> None:
        async with hands:
            pulse.beat()
            with pulse.item("to open a pool that a gateway asked for", namespace=namespace):
                try:
                    await self._open(namespace)
                except BackendRefused as error:
                    if error.retryable or error.is_told:
                        raise
                    log.warning(
                        "a pool that a gateway asked for cannot be opened", namespace=namespace, error=str(error)
                    )

    async def _open(self, namespace: str) -> None:
        if not self._namespaces and not await self._backends.namespaces.exists(namespace):
            return
        pools = self._backends.pools
        if namespace in pools.namespaces():
            await pools.serve(namespace)  # the key alone was lost
        else:
            await pools.get(namespace)
