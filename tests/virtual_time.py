"""A loop in which waiting takes no time: `run(main)` jumps from one timer to the next.

`main` is given the clock: `now()` for what wants `controller.clock.Clock`, and `monotonic()`, which the modules
under test see as `time.monotonic`. What is logged is in `logs`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

from structlog.testing import capture_logs

from tests.values import T0

T = TypeVar("T")

_PATCHED = (
    "controller.backends.lease.time",
    "controller.clients.request.time",
    "controller.loop.waiting.time",
    "controller.loop.worker.time",
    "controller.views.cache.time",
)


class VirtualTime:
    """The clock of one virtual loop; it begins at `T0`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.set_by = timedelta()
        self.logs: list[Any] = []

    def now(self) -> datetime:
        """Server time; a test may set the server's clock."""
        return T0 + self.set_by + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Any beginning will do, if only it is not 0."""
        return 1000.0 + self.seconds

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(50):
            await asyncio.sleep(0)


class _Selector(selectors.DefaultSelector):
    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._time = time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("no timer is left: the test waits for something that cannot happen")
        self._time.seconds += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, time: VirtualTime) -> None:
        self._virtual = time
        super().__init__(_Selector(time))

    def time(self) -> float:
        return self._virtual.monotonic()


def run(main: Callable[[VirtualTime], Coroutine[Any, Any, T]]) -> T:
    """Run `main` to its end in virtual time."""
    time = VirtualTime()
    fake = SimpleNamespace(monotonic=time.monotonic)
    with ExitStack() as stack:
        for target in _PATCHED:
            stack.enter_context(mock.patch(target, fake))
        time.logs = stack.enter_context(capture_logs())
        runner = stack.enter_context(asyncio.Runner(loop_factory=lambda: _Loop(time)))
        return runner.run(main(time))
