"""A plan: which fault comes when, for how long, and with which draw. It follows from its seed alone."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from tests.chaos.faults import FAULTS, OPERATORS, Fault, Lane


@dataclass(frozen=True)
class Step:
    """One fault. `lane` is what it occupies, with the number of an operator; `draw` decides what it hits."""

    at: float
    fault: Fault
    seconds: float
    lane: str
    draw: int

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:6.1f} s  {self.fault.value}{lasting} ({self.lane}, {self.draw})"


def draw(seed: int, seconds: float, faults: int, *, without: Collection[Fault] = ()) -> tuple[Step, ...]:
    """So many faults within so many seconds, in their order. Each kind but those `without` comes by its weight."""
    dice = random.Random(seed)
    kinds = [fault for fault in FAULTS if fault not in without]
    weights = [FAULTS[fault].weight for fault in kinds]
    moments = sorted(dice.uniform(0, seconds) for _ in range(faults))
    chosen = dice.choices(kinds, weights, k=faults)
    return tuple(_step(dice, at, fault) for at, fault in zip(moments, chosen, strict=True))


def _step(dice: random.Random, at: float, fault: Fault) -> Step:
    row = FAULTS[fault]
    shortest, longest = row.seconds
    # Short ones are the most frequent: the cube of an even draw.
    lasts = shortest + (longest - shortest) * dice.random() ** 3
    of = f" {dice.randrange(OPERATORS) + 1}" if row.lane is Lane.OPERATOR else ""
    return Step(round(at, 1), fault, round(lasts, 1), f"{row.lane.value}{of}", dice.randrange(1 << 30))
