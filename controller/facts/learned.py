"""What we learn from the answers to our own requests: as good as a read, and cheaper.

An executor returns an `Effect`. `loop.reconcile` folds the effects of a round into `Learned`, and `observe` takes from
it what it need not read. Where an answer leaves a doubt (a replay, an error), `observe` reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.facts.ledger import Ledger
from controller.facts.match import Refusal
from controller.facts.observation import Present
from controller.facts.room import RecordFacts


@dataclass(frozen=True, slots=True)
class Effect:
    """What one request certainly changed: the whole ledger, or a part of it."""

    refusal: Refusal | None = None
    ledger: Ledger | None = None
    ledger_change: Callable[[Ledger], Ledger] | None = None
    record: RecordFacts | None = None
    must_read: bool = False


READ_AGAIN = Effect(must_read=True)


@dataclass(frozen=True, slots=True)
class Learned:
    """What one reconcile knows without a read; None means not known.

    `must_read`: an answer left a doubt, so `observe` reads everything.
    """

    refusal: Refusal | None = None
    ledger: Present[Ledger] | None = None
    record: RecordFacts | None = None
    must_read: bool = False

    def after(self, effects: Iterable[Effect | None], now: datetime) -> Learned:
        """What is known after the answers to a round of requests that was planned at `now`.

        A ledger that was changed keeps the moment at which it was read: it does not include what others have written
        since.
        """
        refusal, ledger, record = self.refusal, self.ledger, self.record
        for effect in effects:
            if effect is None:
                continue
            refusal, record = effect.refusal or refusal, effect.record or record
            if effect.must_read or (effect.ledger_change is not None and ledger is None):
                return Learned(refusal=refusal, must_read=True)
            if effect.ledger is not None:
                ledger = Present(effect.ledger, now)
            if effect.ledger_change is not None and ledger is not None:
                ledger = Present(effect.ledger_change(ledger.value), ledger.at)
        return Learned(refusal, ledger, record, self.must_read)
