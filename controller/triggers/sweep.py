"""Sweeps: puts right what is left of calls, users and rooms that are over. It sweeps as long as the lease is ours.

A light sweep each minute compares Redis and LiveKit with the objects: Matches and Rooms that went without us, and
reservations for which no Match came. A deep sweep each hour looks at every key of ours in Redis. Each step has a
budget, so it costs the same whatever went wrong; what had no turn in one round is first in the next. One bad item costs
no other.

Only one sweep cleans leftovers at a time, also beside one by hand. Users of a Match that is gone are freed, and rooms
are closed, without the lock of the sweeps: to settle a Match twice, or to close a room twice, changes nothing.

Neighbors: `triggers.deep_sweep` is the deep sweep, `triggers.sweep_rooms` has LiveKit's rooms, `triggers.sweep_work`
the turns and the cleaning, `backends.restores` settles, `backends.leftovers` finds, `cli.sweep` is the sweep by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from controller.backends.bundle import Backends
from controller.backends.leftovers import Finder
from controller.backends.resets import mend_pool, stems
from controller.backends.restores import Restorer
from controller.backends.sweep_lock import SweepTaken
from controller.clients.redis.sweeps import Notes
from controller.errors import BackendError
from controller.facts.leftover import SweepKind
from controller.facts.time import milliseconds
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.deep_sweep import DeepSweep
from controller.triggers.sweep_rooms import RoomSweep
from controller.triggers.sweep_tally import Sweep, SweepTally, begun, ended
from controller.triggers.sweep_work import PoolLook, SweepWork, in_turn

log = structlog.get_logger(__name__)

# The first round of a term: the audit has opened the pools by then.
_FIRST_SECONDS = 5.0
_MATCHES_PER_ROUND = 500
_SHORTEST_SECONDS = 1.0


class Sweeper:
    """Sweeps all open pools and all LiveKit servers, every `interval_seconds`, and calls the deep sweep.

    `damaged` gets the namespace and the name of a damaged key.
    """

    def __init__(
        self,
        backends: Backends,
        restorer: Restorer,
        rooms: RoomSweep,
        finder: Finder,
        deep: DeepSweep,
        work: SweepWork,
        interval_seconds: float,
        damaged: Callable[[str, str], None],
    ) -> None:
        self._backends = backends
        self._restorer = restorer
        self._rooms = rooms
        self._finder = finder
        self._deep = deep
        self._work = work
        self._interval_seconds = interval_seconds
        metrics.sweep_interval_seconds.labels(Sweep.LIGHT).set(interval_seconds)
        self._damaged = damaged
        self._light_at = 0.0
        self._last_namespace = ""
        # What the rounds did that could not be written down.
        self._unwritten = SweepTally()

    async def run(self, pulse: Pulse) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        self._light_at = self._deep.due_at = loop.time() + _FIRST_SECONDS
        begun(milliseconds(self._backends.clock.now()))
        while True:
            await asyncio.sleep(max(0.0, min(self._light_at, self._deep.due_at) - loop.time()))
            pulse.beat()
            if loop.time() >= self._light_at:
                await self.sweep_lightly(pulse)
            else:
                await self._deep.step(pulse)

    async def sweep_lightly(self, pulse: Pulse) -> None:
        """One round. While another sweep works, its lists have no turn: it has neither succeeded nor failed."""
        loop = asyncio.get_running_loop()
        began, tally = loop.time(), self._unwritten
        self._light_at, errors = began + self._interval_seconds, tally.errors
        await self._settle(pulse, tally)
        await self._rooms.sweep(pulse, tally)
        if self._rooms.next_due_at is not None:
            # A room that was found young is closed in time, not a whole interval later.
            self._light_at = min(self._light_at, max(self._rooms.next_due_at, loop.time() + _SHORTEST_SECONDS))
        notes, is_refused = None, False
        try:
            notes = await self._work.take()
            await self._sweep_reservations(pulse, tally)
        except SweepTaken as taken:
            self._work.taken(taken)
            return
        except BackendError as error:
            self._work.failed(Sweep.LIGHT, error)
            is_refused = True
        failed = is_refused or tally.errors > errors
        if not failed:
            self._work.works(Sweep.LIGHT)
        took_ms, now_ms = round((loop.time() - began) * 1000), milliseconds(self._backends.clock.now())
        more = ended(Sweep.LIGHT, notes or Notes({}), now_ms=now_ms, took_ms=took_ms, failed=failed)
        if notes is not None and await self._work.give_back(notes, tally, {**more, **self._deep.wish}):
            self._unwritten = SweepTally()

    async def _settle(self, pulse: Pulse, tally: SweepTally) -> None:
        """Free the users of Matches that are gone or over, a budget of them; the pools take turns."""
        left, pools = _MATCHES_PER_ROUND, self._backends.pools
        for namespace in in_turn(pools.namespaces(), self._last_namespace):
            pulse.beat()
            with pulse.item("to remove what is damaged in a pool", namespace=namespace):
                await self._mend(namespace)
            if left <= 0:
                continue
            self._last_namespace = namespace
            was_compared = False
            with pulse.item("to compare a pool with the Matches", namespace=namespace):
                pool = pools.opened(namespace)
                different = await self._restorer.sweep(namespace, pool, pools.check, left, pulse.beat)
                left -= different.found
                tally.found(SweepKind.MATCHES, different.put_right + different.refused)
                tally.cleaned(SweepKind.MATCHES, different.put_right)
                tally.failed(SweepKind.MATCHES, different.refused)
                was_compared = True
            if not was_compared:
                tally.failed(SweepKind.MATCHES)

    async def _sweep_reservations(self, pulse: Pulse, tally: SweepTally) -> None:
        """Release users whose reservation is over. Raises SweepTaken."""
        for namespace in self._backends.pools.namespaces():
            pulse.beat()
            find = partial(self._finder.reserved, namespace)
            await self._work.sweep(PoolLook(Sweep.LIGHT, namespace, (SweepKind.USERS,), find), pulse, tally)

    async def _mend(self, namespace: str) -> None:
        """Remove keys of a pool that have the wrong type. No reconcile meets those that only readers of streams need.

        Users who waited in a queue that is lost now are found by a deep sweep, at once; so are those whom a Match held
        that is gone, and that `live` no longer lists. Raises BackendError.
        """
        keys = self._backends.pools.unbound(namespace).keys
        removed = await mend_pool(namespace, self._backends.pools)
        if not removed:
            return
        log.warning("damaged keys were removed", namespace=namespace, keys=stems(keys, removed))
        for name in stems(keys, removed):
            self._damaged(namespace, name)
        if not {keys.queue(), keys.reserved(), keys.reservations(), keys.live()}.isdisjoint(removed):
            self._deep.hurry()
