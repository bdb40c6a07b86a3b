"""Which topology is behind the address of Redis: one server, the master that sentinels name, or a cluster.

The address says it, or leaves it open; then the first server says itself what it is. Whenever another kind of server
answers there, or the address names another topology, the choice is made once more. Neighbors: `client` sends over what
was chosen; `topology`, `sentinel` and `cluster` are what can be chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis import exceptions

from controller.clients.redis.cluster import Cluster
from controller.clients.redis.sentinel import Mastered
from controller.clients.redis.target import Mode, first_node
from controller.clients.redis.topology import Connect, OneServer, Topology, TopologyChanged, steady
from controller.settings.redis_address import AddressSource
from controller.settings.redis_address import Topology as Kind


class Choice:
    """The topology that was chosen; None before the first request, and from when it was left until the next one.

    `was_silent` gets the length of each outage that a cluster counts.
    """

    def __init__(
        self, source: AddressSource, connect: Connect, was_silent: Callable[[float], None] | None = None
    ) -> None:
        self._source = source
        self._connect = connect
        self._was_silent = was_silent
        self.topology: Topology | None = None
        self._first: OneServer | None = None
        self._making: asyncio.Task[Topology] | None = None
        # Those that were left are closed when the next one is chosen, or at the end.
        self._left: list[Topology] = []

    async def close(self) -> None:
        """Close all connections."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)
        for topology in (self._first, self.topology, *self._left):
            if topology is not None:
                await topology.close()

    def leave(self) -> None:
        """Leave the topology: another kind of server answers. The next request chooses once more."""
        if self.topology is not None:
            self._left.append(self.topology)
            self.topology = None

    async def made(self) -> Topology:
        """The topology. It is chosen now, or the choice that is under way is waited for. Raises redis-py's errors.

        Two choices at once would make two topologies, and only one of them would be closed at the end.
        """
        if self.topology is not None:
            return self.topology
        making = self._making
        if making is None:
            making = asyncio.get_running_loop().create_task(self._make(), name="choose the topology of Redis")
            making.add_done_callback(self._was_made)
            self._making = making
        await asyncio.wait((making,))
        if making.cancelled():
            raise exceptions.ConnectionError("closed")
        return making.result()

    def _was_made(self, making: asyncio.Task[Topology]) -> None:
        self._making = None
        if not making.cancelled():
            making.exception()  # those who wait raise it; there may be none

    async def _make(self) -> Topology:
        while self._left:
            left = self._left[0]
            await left.close()
            self._left.remove(left)
        source = steady(self._source)
        if source().topology is Kind.CLUSTER:
            if self._first is not None:
                await self._first.close()
                self._first = None
            self.topology = Cluster(self._connect, source, self._was_silent)
            return self.topology
        one = self._first
        if one is None:
            is_single = source().topology is Kind.SINGLE
            one = OneServer(self._connect, first_node(source)) if is_single else Mastered(self._connect, source)
            self._first = one
        try:
            mode = await one.look()
        except TopologyChanged:
            # It is bound to the address of before, so it would never connect again.
            self._left.append(one)
            self._first = None
            raise
        if mode is Mode.CLUSTER:
            await one.close()
            self.topology = Cluster(self._connect, source, self._was_silent)
        else:
            self.topology = one
        self._first = None
        return self.topology
