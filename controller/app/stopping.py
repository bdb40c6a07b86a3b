"""How the process is asked to stop: the first signal asks politely, a second one ends it at once.

SIGTERM comes from the kubelet, SIGINT from Ctrl-C, SIGHUP from a terminal that is closed. A SIGHUP asks, but it counts
neither as the first signal nor as the second: systemd (`SendSIGHUP=`) and terminals send it together with another one.
Neighbor: `app.life` waits for the first one, and stops in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Final, NoReturn

import structlog

log = structlog.get_logger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """The signals that ask this process to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._counted = False
        # A signal that the parent has turned off stays off: `nohup` does that to SIGHUP, a shell to SIGINT of a job.
        self._numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def listen(self) -> None:
        """Take the signals over. Call it again after a library has taken them: kopf does when it starts."""
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.add_signal_handler(number, self._came, number)

    async def wait(self) -> None:
        """Return once the process is asked to stop."""
        await self._asked.wait()

    def _came(self, number: signal.Signals) -> None:
        if number is not signal.SIGHUP:
            if self._counted:
                self._end_at_once(number)
            self._counted = True
        if not self._asked.is_set():
            log.info(f"{number.name}: stopping; a second signal ends the process at once")
        self._asked.set()

    def _end_at_once(self, number: signal.Signals) -> NoReturn:
        """End without a clean-up. The next leader finishes what was in hand, once the lease has expired."""
        log.warning(f"a second signal, {number.name}: the process ends at once, and the lease is not handed over")
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # The status of a process that the signal has ended, as a shell tells it.
        os._exit(128 + number)
