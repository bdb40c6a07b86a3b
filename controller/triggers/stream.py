"""What others write to streams in Redis: webhooks that another replica received, and signals of gateways.

One blocking read for all streams of all pools; each kind of stream is a `Source` that says where to begin and what to
do with an entry. An entry is passed on at least once. What cannot be done now is tried again, and holds up its own
stream alone; what can never be done (somebody wrote to a key that is not theirs, say) is told of and passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from controller.clients.redis.client import Redis, StreamEntry
from controller.clients.redis.keys import Keys
from controller.errors import BackendError, Forbidden, LeadershipLost
from controller.loop.wakes import Wake
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_SHARD = 0
_BLOCK_SECONDS = 1.0
_GLANCE_SECONDS = 0.001
# For a stream that cannot be read at all: whoever mends it need not restart us.
_REFUSED_SECONDS = 30.0


class Source(Protocol):
    """One kind of stream; each pool has one of it."""

    def stream(self, namespace: str) -> str:
        """Its key in the pool of `namespace`."""
        ...

    async def start(self, namespace: str) -> str:
        """The id after which reading begins. May raise BackendError."""
        ...

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        """Deal with a new entry. Where it raises BackendError it comes again, unless the backend has refused it."""
        ...

    async def done(self, namespace: str, entry_id: str) -> None:
        """All entries up to this one were dealt with. Where it raises BackendError, the last one comes again."""
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

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        """Wake up whom it is about."""
        if entry.fields.get("replica") != self._replica:
            self._router.webhook_came(entry.fields.get("room", ""), entry.fields.get("event", ""), Wake.STREAM)

    async def done(self, namespace: str, entry_id: str) -> None:
        """Nobody needs to know: the next owner begins at its own present."""


class StreamReader:
    """Follows the streams of the namespaces that `namespaces` names at each turn."""

    def __init__(self, redis: Redis, sources: Sequence[Source], namespaces: Callable[[], tuple[str, ...]]) -> None:
        self._redis = redis
        self._sources = sources
        self._namespaces = namespaces
        self._positions: dict[str, str] = {}
        self._followed: dict[str, tuple[Source, str]] = {}
        self._resting: dict[str, float] = {}

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._follow()
                await self._read()
            except (BackendError, LeadershipLost) as error:
                log.debug("streams cannot be read at the moment", error=str(error))
                await asyncio.sleep(_BLOCK_SECONDS)

    async def _follow(self) -> None:
        """Take up the streams of new namespaces, and drop those that went."""
        self._followed = {
            source.stream(namespace): (source, namespace)
            for namespace in self._namespaces()
            for source in self._sources
        }
        for known in (self._positions, self._resting):
            for stream in known.keys() - self._followed.keys():
                del known[stream]
        for stream in self._awake(self._followed.keys() - self._positions.keys()):
            source, namespace = self._followed[stream]
            try:
                self._positions[stream] = await source.start(namespace)
            except (BackendError, LeadershipLost) as error:
                self._rest(stream, error)

    async def _read(self) -> None:
        positions = {stream: self._positions[stream] for stream in self._awake(self._positions)}
        if not positions:
            await asyncio.sleep(_BLOCK_SECONDS)
            return
        try:
            entries = await self._redis.read_streams(positions, block_seconds=_BLOCK_SECONDS)
        except BackendError as error:
            if error.retryable:
                raise
            entries = await self._read_each(positions)
        by_stream: dict[str, list[StreamEntry]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream, []).append(entry)
        for stream, of_stream in by_stream.items():
            try:
                await self._deal(stream, of_stream)
            except (BackendError, LeadershipLost) as error:
                self._rest(stream, error)

    async def _read_each(self, positions: Mapping[str, str]) -> tuple[StreamEntry, ...]:
        """One of the streams makes the read of all of them fail: it is found, and left out for a while."""
        entries: list[StreamEntry] = []
        for stream, position in positions.items():
            try:
                entries += await self._redis.read_streams({stream: position}, block_seconds=_GLANCE_SECONDS)
            except BackendError as error:
                self._rest(stream, error)
        return tuple(entries)

    async def _deal(self, stream: str, entries: Sequence[StreamEntry]) -> None:
        source, namespace = self._followed[stream]
        last_id = entries[-1].id
        for entry in entries:
            await _unless_refused(source.take(namespace, entry), stream, entry.id)
            if entry.id != last_id:
                self._positions[stream] = entry.id
        await _unless_refused(source.done(namespace, last_id), stream, last_id)
        self._positions[stream] = last_id

    def _rest(self, stream: str, error: Exception) -> None:
        """Leave a stream alone until what is wrong with it may have passed; the others go on."""
        is_passing = _is_passing(error)
        tell = log.debug if is_passing else log.warning
        tell("a stream cannot be read", stream=stream, error=str(error))
        seconds = _BLOCK_SECONDS if is_passing else _REFUSED_SECONDS
        self._resting[stream] = asyncio.get_running_loop().time() + seconds

    def _awake(self, streams: Iterable[str]) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [stream for stream in streams if self._resting.get(stream, now) <= now]


async def _unless_refused(dealing: Awaitable[None], stream: str, entry_id: str) -> None:
    """What the backend will always refuse must not hold up what comes after it."""
    try:
        await dealing
    except BackendError as error:
        if _is_passing(error):
            raise
        log.warning(
            "an entry of a stream cannot be dealt with, and is passed over",
            stream=stream,
            entry=entry_id,
            error=str(error),
        )


def _is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later. Credentials that are wrong are nothing that an entry can help."""
    return not isinstance(error, BackendError) or error.retryable or isinstance(error, Forbidden)
