"""`python -m benchmarks.live.ticking FILE operator`: the operator, with a clock in its event loop.

The clock is a timer of a millisecond. Between two of its ticks it takes the CPU time of the loop's thread: what one
turn of the loop used while everything else had to wait. CPU time, because a busy machine does not change it; a turn
that waits for a disk would not be seen. A tick may come a millisecond late, so a turn is known to one or two of them.

The longest turn, and what the operator's own metrics say of its queue, are written into FILE (`ticks.Ticks`). While the
file says so the clock stands still, because a thousand ticks a second are some hundredths of a core.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import time
from pathlib import Path

import uvloop
from prometheus_client import Counter, Gauge

from benchmarks.live.ticks import Field, Ticks
from controller.telemetry import metrics

_TICK_SECONDS = 0.001
_ASLEEP_SECONDS = 0.05
# To read the metrics costs some 50 µs.
_TICKS_PER_LOOK = 20


class Clock:
    """Ticks in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ticks: Ticks) -> None:
        self._loop = loop
        self._ticks = ticks
        self._before: int | None = None
        self._until_look = 0

    def tick(self) -> None:
        """Note the turn that just ended, and come again."""
        ticks, before = self._ticks, self._before
        self._before = now = time.thread_time_ns() if ticks[Field.AWAKE] else None
        if now is None:
            self._loop.call_later(_ASLEEP_SECONDS, self.tick)
            return
        if before is not None and now - before > ticks[Field.LONGEST_TURN_NS]:
            ticks[Field.LONGEST_TURN_NS] = now - before
        self._until_look -= 1
        if self._until_look < 0:
            self._until_look = _TICKS_PER_LOOK
            ticks[Field.WAITING] = _value(metrics.queue_depth) + _value(metrics.keys_in_hand)
            ticks[Field.DECISIONS] = _value(metrics.reconciles)
        self._loop.call_later(_TICK_SECONDS, self.tick)


def _value(metric: Counter | Gauge) -> int:
    """The value of a metric, as the sum over its labels."""
    samples = (sample for family in metric.collect() for sample in family.samples)
    return int(sum(sample.value for sample in samples if not sample.name.endswith("_created")))


def main() -> None:
    """Run the program with the rest of the command line."""
    file, *rest = sys.argv[1:]
    ticks, new_event_loop = Ticks(Path(file)), uvloop.new_event_loop

    def ticking() -> uvloop.Loop:
        loop = new_event_loop()
        loop.call_soon(Clock(loop, ticks).tick)
        return loop

    uvloop.new_event_loop = ticking
    sys.argv = ["roomkeeper", *rest]
    runpy.run_module("controller", run_name="__main__")


if __name__ == "__main__":
    main()
