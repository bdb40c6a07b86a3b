"""Sweeps: puts right what is left of calls, users and rooms that are over. It sweeps as long as the lease is ours.

A light sweep each minute compares Redis and LiveKit with the objects: Matches and Rooms that went without us, and
reservations for which no Match came. A deep sweep each hour looks at every key of ours in Redis with SCAN, a few at a
time, for what no list names. Its cursor is in Redis, so the next leader goes on where this one stopped. Each step has a
budget and takes the lock of the sweeps, so it costs the same whatever went wrong, and a sweep by hand has its turn. One
bad item costs no other. Neighbors: `backends.leftovers` finds, `backends.cleaning` cleans, `backends.restores` settles,
`triggers.sweep_rooms` has LiveKit's rooms, `cli.sweep` is the sweep by hand.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from controller.backends.bundle import Backends
from controller.backends.cleaning import Cleaner
from controller.backends.leftovers import Finder
from controller.backends.resets import mend_pool, stems
from controller.backends.restores import Restorer
from controller.backends.sweep_lock import SweepLock, SweepTaken
from controller.clients.redis.sweeps import Notes
from controller.errors import BackendError
from controller.facts.leftover import Leftover, SweepKind
from controller.facts.time import milliseconds
from controller.telemetry.pulse import Pulse
from controller.triggers.sweep_rooms import RoomSweep
from controller.triggers.sweep_tally import Sweep, SweepTally, ended

log = structlog.get_logger(__name__)

# The first round of a term: the audit has opened the pools by then.
_FIRST_SECONDS = 5.0
_MATCHES_PER_ROUND = 500
# Between two steps of a deep sweep: with batches of 100, a million keys take 17 minutes.
PAUSE_SECONDS = 0.1
_TAKEN_SECONDS = 2.0
_SHORTEST_SECONDS = 1.0
_CURSOR = re.compile(r"(\d{1,9}@)?\d{1,20}")
_SHOWN_IDS = 3


@dataclass(frozen=True, slots=True)
class SweepTimes:
    """The pauses between two light sweeps, and between the end of a deep one and the next; in seconds."""

    light_seconds: float
    deep_seconds: float


class Sweeper:
    """Sweeps all open pools and all LiveKit servers. `damaged` gets the namespace and the name of a damaged key."""

    def __init__(
        self,
        backends: Backends,
        restorer: Restorer,
        rooms: RoomSweep,
        finder: Finder,
        cleaner: Cleaner,
        lock: SweepLock,
        times: SweepTimes,
        damaged: Callable[[str, str], None],
    ) -> None:
        self._backends = backends
        self._restorer = restorer
        self._rooms = rooms
        self._finder = finder
        self._cleaner = cleaner
        self._lock = lock
        self._times = times
        self._damaged = damaged
        self._light_at = 0.0
        self._deep_at = 0.0
        self._deep_errors = 0
        self._is_deep_urgent = False
        self._said = ""

    async def run(self, pulse: Pulse) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        self._light_at = self._deep_at = loop.time() + _FIRST_SECONDS
        while True:
            await asyncio.sleep(max(0.0, min(self._light_at, self._deep_at) - loop.time()))
            pulse.beat()
            if loop.time() >= self._light_at:
                await self.sweep_lightly(pulse)
            else:
                await self.sweep_deeply(pulse)

    # The light sweep

    async def sweep_lightly(self, pulse: Pulse) -> None:
        """One round."""
        loop = asyncio.get_running_loop()
        began, tally = loop.time(), SweepTally()
        self._light_at = began + self._times.light_seconds
        notes = await self._take()
        if isinstance(notes, SweepTaken):
            self._light_at = began + _TAKEN_SECONDS
            return
        try:
            if notes is not None:
                await self._sweep_pools(pulse, tally)
        except SweepTaken as taken:
            self._tell(taken)
            return
        # Without Redis no other sweep works either.
        await self._rooms.sweep(pulse, tally)
        if self._rooms.next_due_at is not None:
            # A room that was found young is closed in time, not a whole interval later.
            self._light_at = min(self._light_at, max(self._rooms.next_due_at, loop.time() + _SHORTEST_SECONDS))
        if notes is not None:
            await self._give_back(notes, tally, self._ended(Sweep.LIGHT, notes, began, failed=tally.errors > 0))

    async def _sweep_pools(self, pulse: Pulse, tally: SweepTally) -> None:
        left, pools = _MATCHES_PER_ROUND, self._backends.pools
        for namespace in pools.namespaces():
            pulse.beat()
            was_compared = False
            await self._keep()
            with pulse.item("to remove what is damaged in a pool", namespace=namespace):
                await self._mend(namespace)
            with pulse.item("to compare a pool with the Matches", namespace=namespace):
                pool = pools.opened(namespace)
                different = await self._restorer.sweep(namespace, pool, pools.check, left)
                left -= different.found
                tally.found(SweepKind.MATCHES, different.put_right)
                tally.cleaned(SweepKind.MATCHES, different.put_right)
                was_compared = True
            if not was_compared:
                tally.failed(SweepKind.MATCHES)
            for find in (self._finder.unlisted, self._finder.reserved):
                await self._sweep(namespace, partial(find, namespace), pulse, tally)

    async def _mend(self, namespace: str) -> None:
        """Remove keys of a pool that have the wrong type. No reconcile meets those that only readers of streams need.

        Users who waited in a queue that is lost now are found by a deep sweep, at once. Raises BackendError.
        """
        keys = self._backends.pools.unbound(namespace).keys
        removed = await mend_pool(namespace, self._backends.pools)
        if not removed:
            return
        log.warning("damaged keys were removed", namespace=namespace, keys=stems(keys, removed))
        for name in stems(keys, removed):
            self._damaged(namespace, name)
        if not {keys.queue(), keys.reserved(), keys.reservations()}.isdisjoint(removed):
            self._is_deep_urgent = True
            self._deep_at = 0.0

    # The deep sweep

    async def sweep_deeply(self, pulse: Pulse) -> None:
        """One step: some keys. The first one after the end of a deep sweep waits for its time."""
        loop = asyncio.get_running_loop()
        began, tally = loop.time(), SweepTally()
        self._deep_at = began + _TAKEN_SECONDS
        notes = await self._take()
        if not isinstance(notes, Notes):
            return
        now_ms = milliseconds(self._backends.clock.now())
        is_new, wait_seconds = self._is_due(notes, now_ms)
        if wait_seconds > 0:
            self._deep_at = began + wait_seconds
            await self._give_back(notes, tally, {})
            return
        more: dict[str, str | int] = {"began:deep": now_ms} if is_new else {}
        if is_new:
            self._is_deep_urgent = False
        try:
            more |= await self._sweep_keys("0" if is_new else notes.text("cursor"), pulse, tally)
        except SweepTaken as taken:
            self._tell(taken)
            return
        except BackendError as error:
            # The same keys have their turn again.
            log.debug("the keys of Redis cannot be looked at now", error=str(error))
        if "cursor" in more:
            self._deep_at = loop.time() + PAUSE_SECONDS
            self._deep_errors += tally.errors
            more["keys:deep"] = int(more["keys:deep"]) + (0 if is_new else notes.number("keys:deep"))
        if more.get("cursor") == "0":
            more |= self._deep_ended(notes, now_ms if is_new else notes.number("began:deep"))
        await self._give_back(notes, tally, more)

    async def _sweep_keys(self, cursor: str, pulse: Pulse, tally: SweepTally) -> dict[str, str | int]:
        """Some keys; with the last ones, the beats too. Returns the notes about it. Raises BackendError, SweepTaken."""
        scanned = await self._finder.scan(cursor)
        for keys, names in scanned.pools.items():
            await self._sweep(keys.namespace, partial(self._finder.judged, keys, names), pulse, tally)
        for namespace in self._backends.pools.namespaces() if scanned.cursor == "0" else ():
            await self._sweep(namespace, partial(self._finder.beats, namespace), pulse, tally)
        return {"cursor": scanned.cursor, "keys:deep": scanned.keys}

    async def _sweep(
        self, namespace: str, find: Callable[[], Awaitable[list[Leftover]]], pulse: Pulse, tally: SweepTally
    ) -> None:
        """Clean what is left over in one pool, which costs no other pool."""
        found = list[list[Leftover]]()
        with pulse.item("to look for leftovers in a pool", namespace=namespace):
            found.append(await find())
        if found:
            await self._clean(found[0], pulse, tally)
        else:
            tally.failed(SweepKind.USERS)

    def _is_due(self, notes: Notes, now_ms: int) -> tuple[bool, float]:
        """Whether a new deep sweep begins, and how long it has to wait (s). One that was begun goes on at once."""
        cursor = notes.text("cursor")
        if cursor not in {"", "0"} and _CURSOR.fullmatch(cursor):
            return False, 0.0
        ended_ms = notes.number("ended:deep")
        # The clock may have been set back since.
        wait_seconds = min((ended_ms - now_ms) / 1000 + self._times.deep_seconds, self._times.deep_seconds)
        return True, wait_seconds if ended_ms and not self._is_deep_urgent else 0.0

    def _deep_ended(self, notes: Notes, began_ms: int) -> dict[str, int]:
        now_ms = milliseconds(self._backends.clock.now())
        failed, self._deep_errors = self._deep_errors > 0, 0
        self._deep_at = asyncio.get_running_loop().time() + self._times.deep_seconds
        return dict(ended(Sweep.DEEP, notes, now_ms=now_ms, took_ms=max(0, now_ms - began_ms), failed=failed))

    # Both

    async def _clean(self, leftovers: Iterable[Leftover], pulse: Pulse, tally: SweepTally) -> None:
        cleaned: Counter[tuple[str, SweepKind]] = Counter()
        shown: dict[tuple[str, SweepKind], list[str]] = {}
        for leftover in leftovers:
            pulse.beat()
            was_cleaned = list[bool]()
            await self._keep()
            with pulse.item("to clean a leftover", namespace=leftover.namespace, kind=str(leftover.kind)):
                was_cleaned.append(await self._cleaner.clean(leftover))
            if not was_cleaned or was_cleaned[0]:  # else something that lives has it
                tally.found(leftover.kind)
            if not was_cleaned:
                tally.failed(leftover.kind)
            elif was_cleaned[0]:
                tally.cleaned(leftover.kind)
                cleaned[leftover.namespace, leftover.kind] += 1
                shown.setdefault((leftover.namespace, leftover.kind), []).append(f"{leftover.id}: {leftover.why}")
        for (namespace, kind), count in cleaned.items():
            first = shown[namespace, kind][:_SHOWN_IDS]
            log.warning("leftovers were cleaned", namespace=namespace, kind=str(kind), count=count, first=first)

    async def _take(self) -> Notes | SweepTaken | None:
        """The lock with its notes; or who has it; or None if Redis does not answer."""
        try:
            notes = await self._lock.take()
        except SweepTaken as taken:
            self._tell(taken)
            return taken
        except BackendError as error:
            log.debug("the lock of the sweeps cannot be taken at the moment", error=str(error))
            return None
        self._said = ""
        return notes

    async def _keep(self) -> None:
        """Keep the lock. Raises SweepTaken if it was taken away. Without an answer the next request fails by itself."""
        try:
            await self._lock.keep()
        except BackendError as error:
            log.debug("the lock of the sweeps cannot be kept at the moment", error=str(error))

    def _tell(self, taken: SweepTaken) -> None:
        if taken.owner != self._said:
            log.info("this operator does not sweep for a while: another sweep works", owner=taken.owner)
        self._said = taken.owner

    async def _give_back(self, notes: Notes, tally: SweepTally, more: Mapping[str, str | int]) -> None:
        try:
            await self._lock.give_back({**tally.notes(notes), **more})
        except (SweepTaken, BackendError) as error:
            log.debug("what a sweep did cannot be written down", error=str(error))

    def _ended(self, sweep: Sweep, notes: Notes, began: float, *, failed: bool) -> dict[str, str | int]:
        took_ms = round((asyncio.get_running_loop().time() - began) * 1000)
        now_ms = milliseconds(self._backends.clock.now())
        return dict(ended(sweep, notes, now_ms=now_ms, took_ms=took_ms, failed=failed))
