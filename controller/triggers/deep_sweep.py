"""The deep sweep: every key of ours in Redis, with SCAN, a few at a time, for what no list names.

Its cursor is in Redis, so the next leader goes on where this one stopped. So is that it is urgent. Neighbors:
`triggers.sweep` calls a step when it is due, `backends.leftovers` reads the keys.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial

from controller.backends.bundle import Backends
from controller.backends.leftovers import Finder
from controller.backends.sweep_lock import SweepTaken
from controller.clients.redis.sweeps import Notes
from controller.errors import BackendError
from controller.facts.leftover import SweepKind
from controller.facts.time import milliseconds
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.sweep_tally import Sweep, SweepTally, ended
from controller.triggers.sweep_work import PoolLook, SweepWork

# Between two steps: with batches of 100, a million keys take 17 minutes.
PAUSE_SECONDS = 0.1
_AGAIN_SECONDS = 2.0
_LONGEST_AGAIN_SECONDS = 60.0
_CURSOR = re.compile(r"(\d{1,9}@)?\d{1,20}")
_URGENT = "urgent:deep"


class DeepSweep:
    """The deep sweeps of one term, `interval_seconds` after the end of the last one.

    `due_at` is when the next step is due, by the clock of the event loop.
    """

    def __init__(self, backends: Backends, finder: Finder, work: SweepWork, interval_seconds: float) -> None:
        self._backends = backends
        self._finder = finder
        self._work = work
        self._interval_seconds = interval_seconds
        metrics.sweep_interval_seconds.labels(Sweep.DEEP).set(interval_seconds)
        self._errors = 0
        self._failures = 0
        self._is_urgent = False
        self.due_at = 0.0

    def hurry(self) -> None:
        """Begin a whole sweep at once, also if one is under way: that one may have passed what is to be found."""
        self._is_urgent = True
        self.due_at = 0.0

    @property
    def wish(self) -> Mapping[str, int]:
        """What the next leader has to know of it."""
        return {_URGENT: 1} if self._is_urgent else {}

    async def step(self, pulse: Pulse) -> None:
        """Look at some keys. The first step after the end of a deep sweep waits for its time."""
        now = asyncio.get_running_loop().time()
        self.due_at = now + _AGAIN_SECONDS
        try:
            notes = await self._work.take()
        except SweepTaken as taken:
            self._work.taken(taken)
        except BackendError as error:
            self._failed(error)
        else:
            now_ms = milliseconds(self._backends.clock.now())
            is_new, wait_seconds = self._is_due(notes, now_ms)
            if wait_seconds > 0:
                self.due_at = now + wait_seconds
                await self._work.give_back(notes, SweepTally(), {})
            else:
                await self._go_on(notes, now_ms if is_new else None, pulse)

    async def _go_on(self, notes: Notes, begins_at_ms: int | None, pulse: Pulse) -> None:
        tally, is_new = SweepTally(), begins_at_ms is not None
        more: dict[str, str | int] = {}
        was_taken = list[SweepTaken]()
        with pulse.item("to look at keys of Redis"):
            try:
                more |= await self._sweep_keys("0" if is_new else notes.text("cursor"), pulse, tally)
            except SweepTaken as taken:
                was_taken.append(taken)
        if was_taken:
            self._work.taken(was_taken[0])
            return
        if not more:  # the same keys have their turn again
            await self._work.give_back(notes, tally, self.wish)
            return
        self._failures = 0
        self.due_at = asyncio.get_running_loop().time() + PAUSE_SECONDS
        self._errors += tally.errors
        more["keys:deep"] = int(more["keys:deep"]) + (0 if is_new else notes.number("keys:deep"))
        if begins_at_ms is not None:
            more["began:deep"] = begins_at_ms
            self._is_urgent = False
        # Redis knows it, so the next leader hurries too. A sweep that has begun since is the one that was asked for.
        more[_URGENT] = int(self._is_urgent or (not is_new and bool(notes.number(_URGENT))))
        if more["cursor"] == "0":
            began_ms = begins_at_ms if begins_at_ms is not None else notes.number("began:deep")
            more |= self._ended(notes, began_ms, is_urgent=bool(more[_URGENT]))
        await self._work.give_back(notes, tally, more)

    async def _sweep_keys(self, cursor: str, pulse: Pulse, tally: SweepTally) -> dict[str, str | int]:
        """Some keys; with the last ones, the beats too. Returns the notes about it. Raises BackendError, SweepTaken."""
        try:
            scanned = await self._finder.scan(cursor)
        except BackendError as error:
            self._failed(error)
            raise
        for keys, names in scanned.pools.items():
            find = partial(self._finder.judged, keys, names)
            look = PoolLook(Sweep.DEEP, keys.namespace, self._finder.kinds_of(names), find)
            await self._work.sweep(look, pulse, tally)
        for namespace in self._backends.pools.namespaces() if scanned.cursor == "0" else ():
            find = partial(self._finder.beats, namespace)
            await self._work.sweep(PoolLook(Sweep.DEEP, namespace, (SweepKind.HEARTBEATS,), find), pulse, tally)
        return {"cursor": scanned.cursor, "keys:deep": scanned.keys}

    def _failed(self, error: BackendError) -> None:
        self._work.failed(Sweep.DEEP, error)
        self._failures += 1
        pause_seconds = min(_AGAIN_SECONDS * 2 ** min(self._failures - 1, 10), _LONGEST_AGAIN_SECONDS)
        self.due_at = asyncio.get_running_loop().time() + pause_seconds

    def _is_due(self, notes: Notes, now_ms: int) -> tuple[bool, float]:
        """Whether a new deep sweep begins, and how long it has to wait (s). One that was begun goes on at once."""
        cursor = notes.text("cursor")
        if cursor not in {"", "0"} and _CURSOR.fullmatch(cursor):
            return False, 0.0
        ended_ms = notes.number("ended:deep")
        if not ended_ms or self._is_urgent or notes.number(_URGENT):
            return True, 0.0
        # The clock may have been set back since.
        return True, min((ended_ms - now_ms) / 1000 + self._interval_seconds, self._interval_seconds)

    def _ended(self, notes: Notes, began_ms: int, *, is_urgent: bool) -> dict[str, str | int]:
        now_ms = milliseconds(self._backends.clock.now())
        failed, self._errors = self._errors > 0, 0
        if not failed:
            self._work.works(Sweep.DEEP)
        self.due_at = asyncio.get_running_loop().time() + (PAUSE_SECONDS if is_urgent else self._interval_seconds)
        return ended(Sweep.DEEP, notes, now_ms=now_ms, took_ms=max(0, now_ms - began_ms), failed=failed)
