"""What live calls cost, at one size: the figures, and how they grow from size to size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LiveFigures:
    """One size. The fields are those of build/bench.json."""

    live: int
    namespaces: int
    bring_up_s: float
    """From the first user in the queue until the participants of all calls came."""
    cpu_ms_per_match: float
    """CPU of the operator for that, per Match."""
    memory_empty_mib: float
    """Resident memory of an operator that has just started and has no Match."""
    memory_mib: float
    """Resident memory of the operator that has made all calls, once it is quiet."""
    memory_restarted_mib: float
    """Resident memory of an operator that has found them at its start."""
    idle_cpu_ms_per_s: float
    """CPU milliseconds per second, without flags of older clients."""
    flags_cpu_ms_per_s: float
    """The same with flags."""
    idle_turn_ms: float
    """The longest turn of the event loop while nothing happens."""
    start_turn_ms: float
    """The longest turn of the event loop from readiness until all is decided."""
    poll_cpu_ms: float
    """CPU of one list of LiveKit's rooms in which nothing is new."""
    list_s: float
    """A bare LIST of all Matches and Rooms with its decoding."""
    first_decision_s: float
    """From the start of the process until the first key is decided; its predecessor has handed its lease over."""
    all_decided_s: float
    """… until all are."""
    skips: int
    skip_p50_ms: float
    """From a skip until both users are settled, while the keys of all calls wait."""
    skip_p99_ms: float
    takeover_first_s: float
    """From the death of the leader until another replica decides its first key. Most of it is the lease (15 s)."""
    takeover_all_s: float
    """… until it has decided all."""

    @property
    def memory_kib_per_match(self) -> float:
        """What one live call adds to the memory."""
        return (self.memory_mib - self.memory_empty_mib) * 1024 / self.live

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON, rounded to the digits that are significant."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


_ROWS: tuple[tuple[str, Callable[[LiveFigures], str]], ...] = (
    ("namespaces", lambda one: str(one.namespaces)),
    ("bring-up, s", lambda one: f"{one.bring_up_s:.1f}"),
    ("CPU of a Match, created → participants came, ms", lambda one: f"{one.cpu_ms_per_match:.2f}"),
    ("memory without calls, MiB", lambda one: f"{one.memory_empty_mib:.0f}"),
    ("memory, MiB", lambda one: f"{one.memory_mib:.0f}"),
    ("memory per call, KiB", lambda one: f"{one.memory_kib_per_match:.1f}"),
    ("memory after a restart, MiB", lambda one: f"{one.memory_restarted_mib:.0f}"),
    ("CPU while nothing happens, thousandths of a core", lambda one: f"{one.idle_cpu_ms_per_s:.1f}"),
    ("… with flags of older clients", lambda one: f"{one.flags_cpu_ms_per_s:.1f}"),
    ("longest turn of the event loop, ms", lambda one: f"{one.idle_turn_ms:.1f}"),
    ("… after a start, ms", lambda one: f"{one.start_turn_ms:.1f}"),
    ("CPU of a poll of LiveKit, ms", lambda one: f"{one.poll_cpu_ms:.2f}"),
    ("bare LIST and decode, s", lambda one: f"{one.list_s:.2f}"),
    ("restart → first decision, s (× bare LIST)", lambda one: _multiple(one.first_decision_s, one.list_s)),
    ("restart → all decided, s (× bare LIST)", lambda one: _multiple(one.all_decided_s, one.list_s)),
    ("skip while all keys wait, p50 ms", lambda one: f"{one.skip_p50_ms:.0f}"),
    ("… p99 ms (samples)", lambda one: f"{one.skip_p99_ms:.0f} ({one.skips})"),
    ("leader killed → first decision of another replica, s", lambda one: f"{one.takeover_first_s:.1f}"),
    ("leader killed → all decided, s", lambda one: f"{one.takeover_all_s:.1f}"),
)


def table(figures: Sequence[LiveFigures]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the headings and the lines: one column per size, because people read how a figure grows."""
    ordered = by_size(figures)
    headings = ("live calls", *(str(one.live) for one in ordered))
    return headings, tuple((name, *(told(one) for one in ordered)) for name, told in _ROWS)


def by_size(figures: Sequence[LiveFigures]) -> list[LiveFigures]:
    """Return the figures, the fewest live calls first."""
    return sorted(figures, key=lambda one: one.live)


def _multiple(seconds: float, of: float) -> str:
    return f"{seconds:.2f} ({seconds / of:.1f} ×)"
