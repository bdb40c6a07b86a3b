"""Numbers: from moments to percentiles, from rounds to medians, from medians to the goals. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Subject(StrEnum):
    """What is measured."""

    FLOOR = "floor"
    KOPF = "kopf"
    ROOMKEEPER = "roomkeeper"


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

    def to_json(self) -> dict[str, str | int | float]:
        """With as many digits as mean something."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Goal:
    """A ratio that must not be on the wrong side of `limit`. `ratio` is None where a part was not measured."""

    sentence: str
    limit: float
    at_most: bool
    ratio: float | None

    @property
    def is_met(self) -> bool | None:
        """None where it cannot be told."""
        if self.ratio is None:
            return None
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lies, interpolated linearly. Raises ValueError if empty."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values: nothing became Ready")
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def latencies_ms(sent_ns: Mapping[str, int], ready_ns: Mapping[str, int]) -> list[float]:
    """Milliseconds from created to Ready of every Match that was sent."""
    return [(ready_ns[name] - moment) / 1e6 for name, moment in sent_ns.items()]


def rate_per_second(sent_ns: Mapping[str, int], ready_ns: Mapping[str, int]) -> float:
    """Matches per second, from the first POST until the last one was Ready."""
    seconds = (max(ready_ns[name] for name in sent_ns) - min(sent_ns.values())) / 1e9
    return len(sent_ns) / seconds


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each number over the rounds of one subject and one number in flight."""
    first = rounds[0]

    def median(field: str) -> float:
        return statistics.median(float(getattr(figures, field)) for figures in rounds)

    return Figures(
        subject=first.subject,
        in_flight=first.in_flight,
        rate_per_s=median("rate_per_s"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        cpu_ms_per_match=median("cpu_ms_per_match"),
        api_writes_per_match=median("api_writes_per_match"),
    )


def goals(figures: Iterable[Figures]) -> tuple[Goal, ...]:
    """What the project has set itself."""
    by_case = {(one.subject, one.in_flight): one for one in figures}

    def ratio(field: str, in_flight: int, of: Subject) -> float | None:
        ours, theirs = by_case.get((Subject.ROOMKEEPER, in_flight)), by_case.get((of, in_flight))
        if ours is None or theirs is None:
            return None
        return float(getattr(ours, field)) / float(getattr(theirs, field))

    return (
        Goal("p50 alone against the floor", 1.2, at_most=True, ratio=ratio("p50_ms", 1, Subject.FLOOR)),
        Goal("rate at 32 against the floor", 0.65, at_most=False, ratio=ratio("rate_per_s", 32, Subject.FLOOR)),
        Goal("rate at 32 against kopf", 1.5, at_most=False, ratio=ratio("rate_per_s", 32, Subject.KOPF)),
    )
