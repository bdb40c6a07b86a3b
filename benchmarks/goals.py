"""The goals of the project, and whether the figures of a run meet them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figures, LifeFigures, Measure, Subject
from benchmarks.live.figures import LiveFigures


@dataclass(frozen=True)
class Goal:
    """A value and the limit that it must keep. `value` is None if its part was not measured."""

    sentence: str
    limit: float
    at_most: bool
    value: float | None
    unit: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the value keeps the limit; None if there is no value."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    @property
    def told(self) -> str:
        """Return the value and the limit as text: `0.72 (goal: at least 0.65)`."""
        limit = f"goal: at {'most' if self.at_most else 'least'} {self._text(self.limit)}"
        return f"{'not measured' if self.value is None else self._text(self.value)} ({limit})"

    def _text(self, value: float) -> str:
        return f"{value:.0f} {self.unit}" if self.unit else f"{value:.2f}"


def goals(
    figures: Iterable[Figures], life: Iterable[LifeFigures] = (), live: Sequence[LiveFigures] = ()
) -> tuple[Goal, ...]:
    """Return the project's goals for the parts that have figures."""
    by_case = {(one.subject, one.in_flight): one for one in figures}
    of_life = {(one.measure, one.subject, one.in_flight): one for one in life}
    return (*(_ready_goals(by_case) if by_case else ()), *(_life_goals(of_life) if of_life else ()), *_live_goals(live))


def _live_goals(figures: Sequence[LiveFigures]) -> Iterator[Goal]:
    """The goals of live calls, for the largest size."""
    if not figures:
        return
    most = max(figures, key=lambda one: one.live)
    told = f"with {most.live} live calls"

    def at_most(what: str, limit: float, value: float, unit: str) -> Goal:
        return Goal(f"{what} {told}", limit, at_most=True, value=value, unit=unit)

    yield at_most("memory per call", 16, most.memory_kib_per_match, "KiB")
    yield at_most("CPU", 30, most.idle_cpu_ms_per_s, "m")
    yield at_most("CPU with flags", 60, most.flags_cpu_ms_per_s, "m")
    yield at_most("longest turn of the event loop", 10, most.idle_turn_ms, "ms")
    yield at_most("longest turn after a start", 10, most.start_turn_ms, "ms")
    yield at_most("skip while all keys wait, p99,", 250, most.skip_p99_ms, "ms")


def _ready_goals(by_case: Mapping[tuple[Subject, int], Figures]) -> tuple[Goal, ...]:
    def ratio(field: str, in_flight: int, of: Subject) -> float | None:
        return _ratio(by_case.get((Subject.ROOMKEEPER, in_flight)), by_case.get((of, in_flight)), field)

    return (
        Goal("p50 alone against the floor", 1.05, at_most=True, value=ratio("p50_ms", 1, Subject.FLOOR)),
        Goal("rate at 32 against the floor", 0.85, at_most=False, value=ratio("rate_per_s", 32, Subject.FLOOR)),
        Goal("rate at 32 against kopf", 1.7, at_most=False, value=ratio("rate_per_s", 32, Subject.KOPF)),
        Goal("CPU at 32 against the floor", 2.0, at_most=True, value=ratio("cpu_ms_per_match", 32, Subject.FLOOR)),
    )


def _life_goals(of_life: Mapping[tuple[Measure, Subject, int | None], LifeFigures]) -> tuple[Goal, ...]:
    def found(measure: Measure, field: str) -> float | None:
        in_flight = None if measure is Measure.SIGNAL else 1
        figures = of_life.get((measure, Subject.ROOMKEEPER, in_flight))
        return None if figures is None else float(getattr(figures, field))

    ours, floor = (of_life.get((Measure.CYCLE, who, 16)) for who in (Subject.ROOMKEEPER, Subject.FLOOR))
    rate, cpu = (_ratio(ours, floor, field) for field in ("rate_per_s", "cpu_ms_per_match"))
    return (
        Goal("webhook → status, p50", 20, at_most=True, value=found(Measure.WEBHOOK, "p50_ms"), unit="ms"),
        Goal("signal → both waiting, p99", 250, at_most=True, value=found(Measure.SIGNAL, "p99_ms"), unit="ms"),
        Goal("… at a steady", 19, at_most=False, value=found(Measure.SIGNAL, "rate_per_s"), unit="calls/s"),
        Goal("killed → settled, p99", 2000, at_most=True, value=found(Measure.KILL, "p99_ms"), unit="ms"),
        Goal(
            "both back after LiveKit is, p99", 1500, at_most=True, value=found(Measure.PEOPLE_BACK, "p99_ms"), unit="ms"
        ),
        Goal("full cycles at 16 against the floor", 0.85, at_most=False, value=rate),
        Goal("CPU of a full cycle at 16 against the floor", 2.0, at_most=True, value=cpu),
    )


def _ratio(ours: Figures | LifeFigures | None, theirs: Figures | LifeFigures | None, field: str) -> float | None:
    mine, others = getattr(ours, field, None), getattr(theirs, field, None)
    return None if mine is None or not others else float(mine) / float(others)
