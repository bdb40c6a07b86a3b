"""Webhooks that another replica received: read from the streams in Redis, turned into keys.

What an event said is in the ledger already; an entry only wakes up the owner. Reading starts at the present, because
everything is reconciled when a replica becomes the owner anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from controller.clients.redis.client import Redis, StreamEntry
from controller.clients.redis.keys import Keys
from controller.errors import BackendError
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_SHARD = 0
_BLOCK_SECONDS = 1.0


class StreamReader:
    """Follows the webhook streams of the namespaces that `namespaces` names at each turn."""

    def __init__(
        self,
        redis: Redis,
        cluster_id: str,
        replica: str,
        router: Router,
        namespaces: Callable[[], tuple[str, ...]],
    ) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._replica = replica
        self._router = router
        self._namespaces = namespaces
        self._positions: dict[str, str] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._follow()
                entries = await self._read()
            except BackendError as error:
                log.debug("webhook streams cannot be read at the moment", error=str(error))
                await asyncio.sleep(_BLOCK_SECONDS)
                continue
            for entry in entries:
                self._positions[entry.stream] = entry.id
                if entry.fields.get("replica") != self._replica:
                    self._router.webhook_came(entry.fields.get("room", ""), entry.fields.get("event", ""), "stream")

    async def _read(self) -> tuple[StreamEntry, ...]:
        if not self._positions:
            await asyncio.sleep(_BLOCK_SECONDS)
            return ()
        return await self._redis.read_streams(self._positions, block_seconds=_BLOCK_SECONDS)

    async def _follow(self) -> None:
        """Take up the streams of new namespaces at their present end (by Redis' own ids), and drop those that went."""
        streams = {Keys(self._cluster_id, namespace).webhooks(_SHARD) for namespace in self._namespaces()}
        for stream in streams - self._positions.keys():
            self._positions[stream] = await self._redis.last_id(stream)
        for stream in self._positions.keys() - streams:
            del self._positions[stream]
