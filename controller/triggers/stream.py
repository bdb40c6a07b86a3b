"""Streams in Redis that others write: webhooks that another replica received, and signals of gateways.

One blocking read serves all streams of all pools. In a Redis Cluster a command may only name streams of one slot, so
there all pools are read at once, in turns of short reads. Each kind of stream is a `Source`, which says where to begin,
how the entries of one read divide into lanes, and what to do with an entry. Lanes are handled at the same time, so a
user who floods a stream delays nobody but themselves. An entry is handled at least once. An entry that cannot be
handled now is tried again, and stops its own stream alone. An entry that can never be handled (a key has another type,
for example) is logged and skipped. Neighbors: `triggers.signals` is the other source, `clients.redis.client` reads.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import structlog

from controller.clients.redis.client import Redis, StreamEntry
from controller.clients.redis.keys import Keys
from controller.errors import BackendError, Forbidden, LeadershipLost
from controller.loop.wakes import Wake
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_SHARD = 0
_BLOCK_SECONDS = 1.0
# Of a cluster, streams in several slots are read in turns: so many reads in a second, within these pauses.
_READS_PER_SECOND = 1000
_SHORTEST_TURN_SECONDS, _LONGEST_TURN_SECONDS = 0.05, 0.5
_ENTRIES_AT_ONCE = 1000
_LANES_AT_ONCE = 32
# The pause for a stream that Redis refuses to read: after a repair the operator goes on without a restart.
_REFUSED_SECONDS = 30.0


class Source(Protocol):
    """One kind of stream; each pool has one of it."""

    def stream(self, namespace: str) -> str:
        """Its key in the pool of `namespace`."""
        ...

    async def start(self, namespace: str) -> str:
        """The id after which reading begins. May raise BackendError."""
        ...

    def lanes(self, entries: Sequence[StreamEntry]) -> Sequence[Sequence[StreamEntry]]:
        """Divide the entries of one read: those of one lane are handled in order, the lanes at the same time.

        An entry that a later one repeats may be left out.
        """
        ...

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        """Handle a new entry. After a BackendError it comes again, unless the backend refused it for good."""
        ...

    async def done(self, namespace: str, entry_id: str) -> str:
        """All entries up to this one were handled. Return the id to read on from.

        After a BackendError the last one comes again.
        """
        ...


class WebhookSource:
    """Webhooks that other replicas received.

    The content of an event is in the ledger already; an entry only wakes the owner. Reading starts at the newest entry
    (by Redis' own ids), because a new owner reconciles every key anyway.
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
        """The id of the newest entry."""
        return await self._redis.last_id(self.stream(namespace))

    def lanes(self, entries: Sequence[StreamEntry]) -> Sequence[Sequence[StreamEntry]]:
        """All in one lane: to wake a key takes no time."""
        return (entries,)

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        """Wake the keys of the room."""
        if entry.fields.get("replica") != self._replica:
            self._router.webhook_came(entry.fields.get("room", ""), entry.fields.get("event", ""), Wake.STREAM)

    async def done(self, namespace: str, entry_id: str) -> str:
        """Store nothing: the next owner begins at the newest entry."""
        return entry_id


class StreamReader:
    """Follows the streams of the namespaces that `namespaces` names at each turn."""

    def __init__(self, redis: Redis, sources: Sequence[Source], namespaces: Callable[[], tuple[str, ...]]) -> None:
        self._redis = redis
        self._sources = sources
        self._namespaces = namespaces
        self._positions: dict[str, str] = {}
        self._followed: dict[str, tuple[Source, str]] = {}
        self._resting: dict[str, float] = {}
        self._handled: dict[str, set[str]] = {}
        self._hands = asyncio.Semaphore(_LANES_AT_ONCE)

    async def run(self, pulse: Pulse) -> None:
        """Read until cancelled."""
        while True:
            pulse.beat()
            try:
                await self._follow()
                await self._read()
            except (BackendError, LeadershipLost) as error:
                log.debug("streams cannot be read at the moment", error=str(error))
                await asyncio.sleep(_BLOCK_SECONDS)

    async def _follow(self) -> None:
        """Follow the streams of new namespaces, and drop those of namespaces that are gone."""
        self._followed = {
            source.stream(namespace): (source, namespace)
            for namespace in self._namespaces()
            for source in self._sources
        }
        for known in (self._positions, self._resting, self._handled):
            for stream in known.keys() - self._followed.keys():
                del known[stream]
        new = self._awake(self._followed.keys() - self._positions.keys())
        await asyncio.gather(*(self._start(stream, *self._followed[stream]) for stream in new))

    async def _start(self, stream: str, source: Source, namespace: str) -> None:
        try:
            self._positions[stream] = await source.start(namespace)
        except (BackendError, LeadershipLost) as error:
            self._rest(stream, error)

    async def _read(self) -> None:
        groups = self._redis.together(self._awake(self._positions))
        if not groups:
            await asyncio.sleep(_BLOCK_SECONDS)
            return
        block_seconds = _BLOCK_SECONDS if len(groups) == 1 else 0.0
        read = await asyncio.gather(*(self._read_group(group, block_seconds) for group in groups))
        by_stream: dict[str, list[StreamEntry]] = {}
        for entry in itertools.chain.from_iterable(read):
            by_stream.setdefault(entry.stream, []).append(entry)
        await asyncio.gather(*(self._handle(stream, of_stream) for stream, of_stream in by_stream.items()))
        if len(groups) > 1:
            await asyncio.sleep(_turn_seconds(len(groups)))

    async def _read_group(self, streams: Sequence[str], block_seconds: float) -> tuple[StreamEntry, ...]:
        """Read the streams of one group. After an error the group rests, or the one stream that causes it."""
        positions = {stream: self._positions[stream] for stream in streams}
        try:
            return await self._redis.read_streams(positions, block_seconds=block_seconds, count=_ENTRIES_AT_ONCE)
        except BackendError as error:
            if not error.retryable and len(streams) > 1:
                return tuple(itertools.chain.from_iterable([await self._read_group([one], 0.0) for one in streams]))
            for stream in streams:
                self._rest(stream, error)
            return ()

    async def _handle(self, stream: str, entries: Sequence[StreamEntry]) -> None:
        """Handle what was read of one stream. After an error it is read again, and what was handled is left out."""
        source, namespace = self._followed[stream]
        handled, last_id = self._handled.setdefault(stream, set()), entries[-1].id
        lanes = source.lanes([entry for entry in entries if entry.id not in handled])
        trouble: list[Exception] = []
        await asyncio.gather(*(self._handle_lane(source, namespace, lane, handled, trouble) for lane in lanes))
        try:
            if trouble:
                raise trouble[0]
            read_on_after = await _unless_refused(source.done(namespace, last_id), stream, last_id)
        except (BackendError, LeadershipLost) as error:
            self._rest(stream, error)
        else:
            self._positions[stream] = read_on_after or last_id
            handled.clear()

    async def _handle_lane(
        self,
        source: Source,
        namespace: str,
        lane: Sequence[StreamEntry],
        handled: set[str],
        trouble: list[Exception],
    ) -> None:
        """Handle one lane. After the first `trouble` of any lane no further entry is begun."""
        async with self._hands:
            for entry in lane:
                if trouble:
                    return
                try:
                    await _unless_refused(source.take(namespace, entry), entry.stream, entry.id)
                except (BackendError, LeadershipLost) as error:
                    trouble.append(error)
                else:
                    handled.add(entry.id)

    def _rest(self, stream: str, error: Exception) -> None:
        """Leave a stream alone for a while after an error; the others go on."""
        is_passing = _is_passing(error)
        is_told = isinstance(error, BackendError) and error.is_told
        tell = log.debug if is_passing or is_told else log.warning
        tell("a stream cannot be read", stream=stream, error=str(error))
        seconds = _BLOCK_SECONDS if is_passing else _REFUSED_SECONDS
        self._resting[stream] = asyncio.get_running_loop().time() + seconds

    def _awake(self, streams: Iterable[str]) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [stream for stream in streams if self._resting.get(stream, now) <= now]


def _turn_seconds(groups: int) -> float:
    """How long to pause before the next turn of so many reads."""
    return min(max(_SHORTEST_TURN_SECONDS, groups / _READS_PER_SECOND), _LONGEST_TURN_SECONDS)


async def _unless_refused(handling: Awaitable[_T], stream: str, entry_id: str) -> _T | None:
    """Skip an entry that the backend will always refuse, or that no code expected, and return None."""
    try:
        return await handling
    except BackendError as error:
        if _is_passing(error):
            raise
        log.warning(
            "an entry of a stream cannot be handled, and is skipped",
            stream=stream,
            entry=entry_id,
            error=str(error),
        )
        return None
    except LeadershipLost:
        raise
    except Exception:  # one bad entry must never stop the others
        log.exception("an entry of a stream failed unexpectedly, and is skipped", stream=stream, entry=entry_id)
        return None


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later. Wrong credentials are no fault of the entry, so they may pass."""
    return not isinstance(error, BackendError) or error.retryable or isinstance(error, Forbidden)
