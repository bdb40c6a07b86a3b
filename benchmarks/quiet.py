"""Whether the machine was quiet: how much of it programs took that do not belong to the benchmark.

The stack, the subjects and the load are children of the benchmark, so their CPU time is known; all the rest that the
kernel counts belongs to others. A virtual machine also counts the time that its host took away.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_LOAD_PER_CORE = 0.3
_OTHERS = 0.05
_STOLEN = 0.02


@dataclass(frozen=True)
class Spent:
    """CPU seconds since the machine was started: all of its cores, busy, stolen by the host, and of the benchmark."""

    total: float
    busy: float
    stolen: float
    ours: float

    @classmethod
    def now(cls) -> Spent:
        """Read /proc."""
        words = (_PROC / "stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
        user, nice, system, idle, waiting, hard, soft, stolen = (int(word) / _TICKS_PER_SECOND for word in words)
        busy = user + nice + system + hard + soft
        return cls(busy + idle + waiting + stolen, busy, stolen, sum(_of_our_processes()) / _TICKS_PER_SECOND)


def _of_our_processes() -> Iterator[int]:
    """The ticks of this process and all below it, with those of their children that have ended."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        children[int(fields[1])].append(int(entry.name))
        ticks[int(entry.name)] = sum(int(field) for field in fields[11:15])
    below = [os.getpid()]
    while below:
        pid = below.pop()
        below += children[pid]
        yield ticks.get(pid, 0)


class Watched:
    """The machine from now on."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._before = Spent.now()

    def doubts(self) -> tuple[str, ...]:
        """What speaks against the figures that were measured until now, a sentence each; nothing if nothing does."""
        return doubts(self._before, Spent.now(), self._load, os.cpu_count() or 1)


def doubts(before: Spent, after: Spent, load: float, cores: int) -> tuple[str, ...]:
    """What speaks against figures that were measured between two readings. Pure."""
    total = max(after.total - before.total, 1e-9)
    stolen = (after.stolen - before.stolen) / total
    others = max(0.0, (after.busy - before.busy - after.ours + before.ours) / total)
    found = []
    if load > _LOAD_PER_CORE * cores:
        found.append(f"the load average was {load:.1f} at the start, on {cores} cores")
    if others > _OTHERS:
        found.append(f"other programs used {others:.0%} of the machine during the run")
    if stolen > _STOLEN:
        found.append(f"the host took {stolen:.0%} of the machine away during the run")
    advice = "only ratios within this run mean something"
    return tuple(f"warning: the machine was not quiet: {sentence}; {advice}" for sentence in found)
