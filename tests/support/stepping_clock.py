"""The operator on a machine whose wall clock is wrong and steps: `python -m tests.support.stepping_clock SECONDS …`.

The clock is wrong by SECONDS from the start, and after SIGUSR1 by as much in the other direction. All code in this
process sees the wrong date, libraries included. The monotonic clock is not changed, as on a real machine.
"""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime, timedelta

import time_machine


def _run() -> None:
    off = timedelta(seconds=float(sys.argv.pop(1)))
    # The library also changes the monotonic clock. Modules that are imported after this line get the real one.
    time.monotonic = time_machine.escape_hatch.time.monotonic
    time.monotonic_ns = time_machine.escape_hatch.time.monotonic_ns
    from controller.cli.main import main

    with time_machine.travel(datetime.now(UTC) + off, tick=True) as wall_clock:
        signal.signal(signal.SIGUSR1, lambda _number, _frame: wall_clock.shift(-2 * off))
        main()


if __name__ == "__main__":
    _run()
