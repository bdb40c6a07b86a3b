"""What the figures of one size mean for many more calls: the formulas of docs/performance.md. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.live.figures import LiveFigures

CALLS = (10_000, 100_000, 1_000_000)

LENGTH_SECONDS = 300.0
"""How long a call lasts on average."""
SHARE = 0.6
"""How much of its core an operator may use, so that it is not late."""
START_SECONDS = 30.0
"""How long an operator may need until it has decided everything after a start."""
END_CPU_MS = 12.0
"""CPU of the end of a call: a full cycle without created → Ready, both from the tables above."""
WRITES_PER_CALL = 11
"""API writes of a full cycle, from the table above."""
WRITES_PER_SECOND = 1000.0
"""What one API server with its etcd takes. An assumption: measure yours."""
ROOMS_PER_SERVER = 2500
"""Rooms on one LiveKit server: as many as are listed at every poll."""
BEAT_SECONDS = 30.0


@dataclass(frozen=True)
class Need:
    """What so many live calls need."""

    calls: int
    per_operator: int
    operators: int
    memory_mib: float
    """Of one operator."""
    writes_per_s: float
    clusters: int
    beats_per_s: float
    livekit_servers: int
    poll_m: float
    """CPU of one operator for its polls, in thousandths of a core, if it polls no server of another one."""


def need(found: LiveFigures, calls: int) -> Need:
    """Compute the needs of so many calls from the figures of one size."""
    per_second = calls / LENGTH_SECONDS
    cpu_ms = found.cpu_ms_per_match + END_CPU_MS
    by_cpu = LENGTH_SECONDS * max(0.0, 1000 * SHARE - found.idle_cpu_ms_per_s) / cpu_ms
    by_start = found.live * START_SECONDS / found.all_decided_s
    most = max(1, math.floor(min(by_cpu, by_start)))
    operators = math.ceil(calls / most)
    own = calls / operators
    rounds_s = 2.0 * min(4.0, max(1.0, own / ROOMS_PER_SERVER))
    return Need(
        calls=calls,
        per_operator=most,
        operators=operators,
        memory_mib=found.memory_empty_mib + own * found.memory_kib_per_match / 1024,
        writes_per_s=WRITES_PER_CALL * per_second,
        clusters=math.ceil(WRITES_PER_CALL * per_second / WRITES_PER_SECOND),
        beats_per_s=2 * calls / BEAT_SECONDS,
        livekit_servers=math.ceil(calls / ROOMS_PER_SERVER),
        poll_m=found.poll_cpu_ms * own / found.live / rounds_s,
    )


def table(found: LiveFigures) -> Iterator[tuple[str, ...]]:
    """Yield the headings and then the lines of a table: one column per number of calls."""
    needs = [need(found, calls) for calls in CALLS]
    yield ("live calls", *(_told(one.calls) for one in needs))
    yield ("calls that begin and end, per second", *(f"{one.calls / LENGTH_SECONDS:.0f}" for one in needs))
    yield ("operators (at most so many calls each)", *(f"{one.operators} ({_told(one.per_operator)})" for one in needs))
    yield ("memory of each, MiB", *(f"{one.memory_mib:.0f}" for one in needs))
    yield ("API writes per second", *(_told(one.writes_per_s) for one in needs))
    yield ("Kubernetes API servers with their etcd", *(str(one.clusters) for one in needs))
    yield ("beats per second in Redis", *(_told(one.beats_per_s) for one in needs))
    yield ("LiveKit servers", *(_told(one.livekit_servers) for one in needs))
    yield ("polls of each operator, thousandths of a core", *(f"{one.poll_m:.0f}" for one in needs))


def _told(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")
