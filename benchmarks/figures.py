"""Numbers: from moments to percentiles, from rounds to medians. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar


class Subject(StrEnum):
    """The program that is measured."""

    FLOOR = "floor"
    KOPF = "kopf"
    ROOMKEEPER = "roomkeeper"


class Measure(StrEnum):
    """What is measured in the life of a call, besides created → Ready."""

    WEBHOOK = "webhook_to_status"
    LIVEKIT_WEBHOOK = "livekit_webhook_to_status"
    LEAVE = "leave_to_settled"
    KILL = "kill_to_settled"
    HEARTBEATS = "heartbeats_to_settled"
    SIGNAL = "signal_to_settled"
    TERMINATION_SETTLED = "termination_to_settled"
    TERMINATION_CLEAN = "termination_to_clean"
    ROOMS_BACK = "livekit_back_to_rooms_restored"
    PEOPLE_BACK = "livekit_back_to_both_back"
    CYCLE = "full_cycle"

    @property
    def sentence(self) -> str:
        """Return a description for people: from which moment to which."""
        return _SENTENCES[self]


_SENTENCES = {
    Measure.WEBHOOK: "webhook → status",
    Measure.LIVEKIT_WEBHOOK: "LiveKit's own webhook → status",
    Measure.LEAVE: "client leaves → settled, beyond leaveSeconds",
    Measure.KILL: "client killed → settled, beyond LiveKit's own delay and reconnectSeconds",
    Measure.HEARTBEATS: "heartbeats stop → settled, beyond the threshold",
    Measure.SIGNAL: "signal → both waiting again",
    Measure.TERMINATION_SETTLED: "termination → both waiting again",
    Measure.TERMINATION_CLEAN: "termination → all clean",
    Measure.ROOMS_BACK: "LiveKit answers without its rooms → rooms restored",
    Measure.PEOPLE_BACK: "LiveKit answers without its rooms → both participants back",
    Measure.CYCLE: "full cycle, created → deleted",
}

Samples: TypeAlias = Mapping[Measure, Sequence[float]]
"""Milliseconds by measure."""


@dataclass(frozen=True)
class Figures:
    """One subject with one number of Matches in flight. The fields are those of build/bench.json."""

    subject: Subject
    in_flight: int
    rate_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_match: float
    api_writes_per_match: float
    margins: Mapping[str, float] = field(default_factory=dict)
    """Half the width of the 95 % confidence interval, by field; without those that were measured once."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON, rounded to the digits that are significant."""
        return _rounded(asdict(self))


@dataclass(frozen=True)
class LifeFigures:
    """One measure of one subject. The fields are those of build/bench.json.

    `in_flight` is None if calls began at a rate, `rate_per_s` if they were measured one at a time. CPU and API writes
    are None if they were not measured.
    """

    subject: Subject
    measure: Measure
    in_flight: int | None
    count: int
    rate_per_s: float | None
    p50_ms: float
    p99_ms: float
    cpu_ms_per_match: float | None = None
    api_writes_per_match: float | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    """Half the width of the 95 % confidence interval, by field; without those that were measured once."""

    @classmethod
    def of(cls, measure: Measure, milliseconds: Sequence[float], rate_per_s: float | None = None) -> LifeFigures:
        """Return the figures of latencies of Roomkeeper, measured one at a time, or at a rate."""
        p50_ms, p99_ms = (percentile(milliseconds, share) for share in (0.5, 0.99))
        in_flight = 1 if rate_per_s is None else None
        margin = _margin_of_median(milliseconds)
        margins = {} if margin is None else {"p50_ms": margin}
        count = len(milliseconds)
        return cls(Subject.ROOMKEEPER, measure, in_flight, count, rate_per_s, p50_ms, p99_ms, margins=margins)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON, rounded to the digits that are significant."""
        return _rounded(asdict(self))


@dataclass(frozen=True)
class CapacityFigures:
    """What Roomkeeper needs while `live` Matches are up. The fields are those of build/bench.json."""

    live: int
    memory_mib: float
    """Resident memory at the end of the measurement."""
    cpu_ms_per_s: float
    """CPU milliseconds per second: thousandths of a core, as in a Pod's resources."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON, rounded to the digits that are significant."""
        return _rounded(asdict(self))


@dataclass(frozen=True)
class Growth:
    """What each further thousand live Matches adds."""

    memory_mib: float
    cpu_ms_per_s: float


def growth(figures: Sequence[CapacityFigures]) -> Growth | None:
    """Return the growth from the fewest live Matches to the most; None if there are not two different numbers."""
    ordered = sorted(figures, key=lambda one: one.live)
    if not ordered or ordered[0].live == ordered[-1].live:
        return None
    least, most = ordered[0], ordered[-1]
    thousands = (most.live - least.live) / 1000
    return Growth(
        (most.memory_mib - least.memory_mib) / thousands, (most.cpu_ms_per_s - least.cpu_ms_per_s) / thousands
    )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lies, interpolated. Raises ValueError if empty."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values: nothing became Ready")
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def latencies_ms(sent_ns: Mapping[str, int], ready_ns: Mapping[str, int]) -> list[float]:
    """Return the milliseconds from created to Ready for every Match that was sent."""
    return [(ready_ns[name] - moment) / 1e6 for name, moment in sent_ns.items()]


def rate_per_second(sent_ns: Mapping[str, int], ready_ns: Mapping[str, int]) -> float:
    """Return the Matches per second, from the first POST until the last one was Ready."""
    seconds = (max(ready_ns[name] for name in sent_ns) - min(sent_ns.values())) / 1e9
    return len(sent_ns) / seconds


# Student's t for 95 % by the number of values, from two on; for more it is close to that of the normal distribution.
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
_NORMAL95 = 1.96


@dataclass(frozen=True)
class Estimate:
    """A value that was measured several times: its median, and half the width of the mean's 95 % confidence interval.

    `margin` is None for a single value.
    """

    median: float
    margin: float | None

    def __str__(self) -> str:
        return f"{self.median:.2f}" if self.margin is None else f"{self.median:.2f} ± {self.margin:.2f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Estimate a value from its rounds. Raises ValueError if there is none."""
    if not values:
        raise ValueError("no values: nothing was measured")
    return Estimate(statistics.median(values), _margin(values))


def _margin(values: Sequence[float]) -> float | None:
    count = len(values)
    if count < 2:
        return None
    factor = _T95[count - 2] if count - 2 < len(_T95) else _NORMAL95
    return factor * statistics.stdev(values) / math.sqrt(count)


def _margin_of_median(values: Sequence[float]) -> float | None:
    """Half the width of the median's 95 % confidence interval, from the ranks; None for less than six values."""
    count, ordered = len(values), sorted(values)
    if count < 6:
        return None
    reach = _NORMAL95 / 2 * math.sqrt(count)
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return (ordered[min(high, count - 1)] - ordered[max(low, 0)]) / 2


F = TypeVar("F", Figures, LifeFigures)


def medians(rounds: Sequence[F]) -> F:
    """Return the median of each number over the rounds of one case, with the margins of what the rounds measured."""
    first = rounds[0]
    found = {one.name: [getattr(figures, one.name) for figures in rounds] for one in fields(first)}
    measured = {
        name: estimate(values) for name, values in found.items() if isinstance(values[0], float) and None not in values
    }
    margins = {name: one.margin for name, one in measured.items() if one.margin is not None}
    told: dict[str, Any] = {
        name: measured[name].median if name in measured else values[0] for name, values in found.items()
    }
    return type(first)(**{**told, "margins": margins or first.margins})


def _rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Round all numbers. Margins are left out where there are none."""
    rounded: dict[str, Any] = {
        name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()
    }
    margins = rounded.pop("margins", None)
    return rounded | ({"margins": _rounded(margins)} if margins else {})
