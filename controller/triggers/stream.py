"""What others write to streams in Redis: webhooks that another replica received, and signals of gateways.

One blocking read for all streams of all pools; each kind of stream is a `Source` that says where to begin and what to
do with the entries. An entry is passed on at least once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from controller.clients.redis.client import Redis, StreamEntry
from controller.clients.redis.keys import Keys
from controller.errors import BackendError, LeadershipLost
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_SHARD = 0
_BLOCK_SECONDS = 1.0


class Source(Protocol):
    """One kind of stream; each pool has one of it."""

    def stream(self, namespace: str) -> str:
        """Its key in the pool of `namespace`."""
        ...

    async def start(self, namespace: str) -> str:
        """The id after which reading begins. May raise BackendError."""
        ...

    async def take(self, namespace: str, entries: tuple[StreamEntry, ...]) -> None:
        """Deal with new entries of one stream. Where it raises BackendError, they come again."""
        ...


class WebhookSource:
    """Webhooks that other replicas received.

    What an event said is in the ledger already; an entry only wakes up the owner. Reading starts at the present (by
    Redis' own ids), because everything is reconciled when a replica becomes the owner anyway.
    """

    def __init__(self, redis: Redis, cluster_id: str, replica: str, router: Router) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._replica = replica
        self._router = router

    def stream(self, namespace: str) -> str:
        """The stream of the pool's only shard."""
        return Keys(self._cluster_id, namespace).webhooks(_SHARD)

    async def start(self, namespace: str) -> str:
        """The present end."""
        return await self._redis.last_id(self.stream(namespace))

    async def take(self, namespace: str, entries: tuple[StreamEntry, ...]) -> None:
        """Wake up whom they are about."""
        for entry in entries:
            if entry.fields.get("replica") != self._replica:
                self._router.webhook_came(entry.fields.get("room", ""), entry.fields.get("event", ""), "stream")


class StreamReader:
    """Follows the streams of the namespaces that `namespaces` names at each turn."""

    def __init__(self, redis: Redis, sources: Sequence[Source], namespaces: Callable[[], tuple[str, ...]]) -> None:
        self._redis = redis
        self._sources = sources
        self._namespaces = namespaces
        self._positions: dict[str, str] = {}
        self._followed: dict[str, tuple[Source, str]] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._follow()
                await self._read()
            except (BackendError, LeadershipLost) as error:
                log.debug("streams cannot be read at the moment", error=str(error))
                await asyncio.sleep(_BLOCK_SECONDS)

    async def _read(self) -> None:
        if not self._positions:
            await asyncio.sleep(_BLOCK_SECONDS)
            return
        entries = await self._redis.read_streams(self._positions, block_seconds=_BLOCK_SECONDS)
        by_stream: dict[str, list[StreamEntry]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry)
        for stream, of_stream in by_stream.items():
            source, namespace = self._followed[stream]
            await source.take(namespace, tuple(of_stream))
            self._positions[stream] = of_stream[-1].id

    async def _follow(self) -> None:
        """Take up the streams of new namespaces, and drop those that went."""
        wanted = {
            source.stream(namespace): (source, namespace)
            for namespace in self._namespaces()
            for source in self._sources
        }
        for stream in wanted.keys() - self._positions.keys():
            source, namespace = wanted[stream]
            self._positions[stream] = await source.start(namespace)
        for stream in self._positions.keys() - wanted.keys():
            del self._positions[stream]
        self._followed = wanted
