"""What the light and the deep sweep share: their turn, looking for leftovers in a pool, and cleaning them.

Neighbors: `triggers.sweep` is the light sweep and the loop of both, `triggers.deep_sweep` the deep one;
`backends.sweep_lock` has the lock, `backends.cleaning` cleans.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog

from controller.backends.cleaning import Cleaner
from controller.backends.sweep_lock import SweepLock, SweepTaken
from controller.clients.redis.sweeps import Notes
from controller.errors import BackendError, BackendRefused
from controller.facts.leftover import Leftover, SweepKind
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.sweep_tally import Sweep, SweepTally, remember

log = structlog.get_logger(__name__)

_SHOWN_IDS = 3


def in_turn(names: Iterable[str], last: str) -> list[str]:
    """The names in their order, from the one after `last` on: who was not reached in one round is first in the next."""
    ordered = sorted(names)
    start = bisect.bisect_right(ordered, last)
    return [*ordered[start:], *ordered[:start]]


@dataclass(frozen=True, slots=True)
class PoolLook:
    """One look at one pool, for leftovers of these kinds."""

    sweep: Sweep
    namespace: str
    kinds: Collection[SweepKind]
    find: Callable[[], Awaitable[list[Leftover]]]


class SweepWork:
    """The lock and the cleaner of the sweeps of one term, and what is said about them."""

    def __init__(self, cleaner: Cleaner, lock: SweepLock) -> None:
        self._cleaner = cleaner
        self._lock = lock
        self._is_remembered = False
        self._owner_said = ""
        self._trouble_said: dict[Sweep, str] = {}

    async def take(self) -> Notes:
        """Take the turn; return the notes. Raises SweepTaken while another sweep works, and BackendError."""
        notes = await self._lock.take()
        self._owner_said = ""
        if not self._is_remembered:
            self._is_remembered = True
            remember(notes)
        return notes

    async def keep(self) -> None:
        """Keep the turn. Raises SweepTaken if it was taken away. Without an answer the next request fails by itself."""
        try:
            await self._lock.keep()
        except BackendError as error:
            log.debug("the lock of the sweeps cannot be kept at the moment", error=str(error))

    async def give_back(self, notes: Notes, tally: SweepTally, more: Mapping[str, str | int]) -> bool:
        """End the turn, and write down what was done. Returns whether it is written."""
        try:
            await self._lock.give_back({**tally.notes(notes), **more})
        except (SweepTaken, BackendError) as error:
            log.debug("what a sweep did cannot be written down", error=str(error))
            return False
        return True

    def taken(self, sweep: SweepTaken) -> None:
        """Say once who sweeps."""
        if sweep.owner != self._owner_said:
            log.info("this operator does not look for leftovers for a while: another sweep works", owner=sweep.owner)
        self._owner_said = sweep.owner

    def failed(self, sweep: Sweep, error: BackendError) -> None:
        """Redis does not do what the sweep needs. A refusal goes on until an administrator acts, so it is said once."""
        if error.is_told or not isinstance(error, BackendRefused):
            log.debug("a sweep cannot work at the moment", sweep=str(sweep), error=str(error))
            return
        metrics.sweep_failing.labels(sweep).set(1)
        if error.sentence != self._trouble_said.get(sweep):
            log.warning(f"the {sweep} sweep cannot do all of its work: {error.sentence}", sweep=str(sweep))
        self._trouble_said[sweep] = error.sentence

    def works(self, sweep: Sweep) -> None:
        """The sweep came to its end without an error."""
        metrics.sweep_failing.labels(sweep).set(0)
        if self._trouble_said.pop(sweep, None):
            log.info(f"the {sweep} sweep can do all of its work again", sweep=str(sweep))

    async def sweep(self, look: PoolLook, pulse: Pulse, tally: SweepTally) -> None:
        """Clean what is left over in one pool, which costs no other pool. Raises SweepTaken."""
        found = list[list[Leftover]]()
        with pulse.item("to look for leftovers in a pool", namespace=look.namespace):
            try:
                found.append(await look.find())
            except BackendError as error:
                self.failed(look.sweep, error)
                raise
        if found:
            await self._clean(found[0], pulse, tally)
        for kind in look.kinds if not found else ():
            tally.failed(kind)

    async def _clean(self, leftovers: Iterable[Leftover], pulse: Pulse, tally: SweepTally) -> None:
        cleaned: Counter[tuple[str, SweepKind]] = Counter()
        shown: dict[tuple[str, SweepKind], list[str]] = {}
        for leftover in leftovers:
            pulse.beat()
            was_cleaned = list[bool]()
            await self.keep()
            with pulse.item("to clean a leftover", namespace=leftover.namespace, type=str(leftover.kind)):
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
            log.warning("leftovers were cleaned", namespace=namespace, type=str(kind), count=count, first=first)
