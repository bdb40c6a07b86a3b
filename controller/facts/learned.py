"""What the answers to our own calls tell: as good as reading again, and cheaper.

An executor returns an `Effect`; `loop.reconcile` folds the effects of a round into `Learned`, and `observe` takes from
there what it need not read. Where an answer does not tell for certain (a replay, an error), it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from controller.facts.ledger import Ledger
from controller.facts.match import Refusal
from controller.facts.observation import Present
from controller.facts.room import RecordFacts


@dataclass(frozen=True, slots=True)
class Effect:
    """What one call changed for certain: the whole ledger, or what is different in it."""

    refusal: Refusal | None = None
    ledger: Ledger | None = None
    ledger_change: Callable[[Ledger], Ledger] | None = None
    record: RecordFacts | None = None
    must_read: bool = False


READ_AGAIN = Effect(must_read=True)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known within one reconcile without reading; None is not known.

    `must_read` tells that an answer left something open: then nothing may be taken for granted.
    """

    refusal: Refusal | None = None
    ledger: Present[Ledger] | None = None
    record: RecordFacts | None = None
    must_read: bool = False

    def after(self, effects: Iterable[Effect | None], now: datetime) -> Learned:
        """What is known once a round of calls, planned at `now`, has been answered.

        A ledger that was changed keeps the moment at which it was read: of what others write it knows no more.
        """
        known = self
        for effect in effects:
            if effect is None:
                continue
            refusal = effect.refusal or known.refusal
            if effect.must_read or (effect.ledger_change is not None and known.ledger is None):
                return Learned(refusal=refusal, must_read=True)
            ledger = Present(effect.ledger, now) if effect.ledger is not None else known.ledger
            if effect.ledger_change is not None and ledger is not None:
                ledger = Present(effect.ledger_change(ledger.value), ledger.at)
            known = replace(known, refusal=refusal, ledger=ledger, record=effect.record or known.record)
        return known
