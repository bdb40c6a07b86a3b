"""Which signals ask the process to stop, and which end it at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from controller.app.stopping import SIGNALS, StopSignals

HUP, TERM, INT = signal.SIGHUP, signal.SIGTERM, signal.SIGINT
LAST = signal.SIGUSR1


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The statuses with which the process would have ended; its handlers of signals are put back."""
    found: list[int] = []
    # A shell turns SIGINT off for a background job, in which these tests may run.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    monkeypatch.setattr(os, "_exit", found.append)
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("sent", "ended"),
    [
        ([TERM], []),
        ([HUP], []),
        ([TERM, TERM], [143]),
        ([TERM, INT], [130]),
        ([HUP, TERM], []),
        ([TERM, HUP], []),
        ([HUP, HUP], []),
        ([HUP, TERM, TERM], [143]),
    ],
)
async def test_a_second_signal_ends_the_process_at_once_and_a_hangup_does_not_count(
    statuses: list[int], sent: list[signal.Signals], ended: list[int]
) -> None:
    loop = asyncio.get_running_loop()
    signals, all_came = StopSignals(), asyncio.Event()
    signals.listen()
    # asyncio hands signals on in their order, so the others have been taken before this one.
    loop.add_signal_handler(LAST, all_came.set)
    try:
        for number in (*sent, LAST):
            signal.raise_signal(number)
        await all_came.wait()
        await signals.wait()
    finally:
        for number in (*SIGNALS, LAST):
            loop.remove_signal_handler(number)
    assert statuses == ended
