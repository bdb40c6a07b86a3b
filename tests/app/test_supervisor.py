"""The supervisor: a loop that fails begins again, one that hangs shows, and the others do not notice."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiohttp import web

from controller.app.supervisor import Loop, supervised
from controller.errors import Backend, BackendUnavailable
from controller.telemetry import metrics
from controller.telemetry.health import Health
from controller.telemetry.pulse import LoopName, Pulse, Pulses
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.REDIS, "XREAD", "no answer")


class Rounds:
    """A loop that comes round once a second; the test decides what happens in each round."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.at: list[float] = []
        self.failures: list[Exception] = []
        self.hangs = False

    async def run(self, pulse: Pulse) -> None:
        """Come round until cancelled."""
        while True:
            pulse.beat()
            self.at.append(round(self.time.seconds, 1))
            if self.failures:
                raise self.failures.pop()
            await asyncio.sleep(10**9 if self.hangs else 1)


def test_a_loop_that_fails_begins_again_and_the_others_do_not_notice() -> None:
    async def main(time: VirtualTime) -> None:
        broken, healthy = Rounds(time), Rounds(time)
        broken.failures = [ValueError("no code expected this"), AWAY]
        failures = metrics.loop_failures.labels(LoopName.AUDIT)._value
        before = failures.get()
        async with supervised(Pulses(), Loop(LoopName.AUDIT, broken.run), Loop(LoopName.FLAGS, healthy.run)):
            await asyncio.sleep(3.5)
        assert healthy.at == [0.0, 1.0, 2.0, 3.0]
        assert broken.at == [0.0, 0.1, 0.3, 1.3, 2.3, 3.3], "after pauses that double"
        assert failures.get() - before == 2
        assert [entry["loop"] for entry in time.logs if "begins again" in entry["event"]] == ["audit", "audit"]

    run(main)


def test_a_loop_that_ends_by_itself_begins_again() -> None:
    async def main(time: VirtualTime) -> None:
        began: list[float] = []

        async def ends(_: Pulse) -> None:
            began.append(round(time.seconds, 1))

        async with supervised(Pulses(), Loop(LoopName.SEARCH, ends)):
            await asyncio.sleep(1)
        assert began == [0.0, 0.1, 0.3, 0.7]

    run(main)


def test_a_loop_that_fails_all_the_time_pauses_for_a_quarter_of_a_minute() -> None:
    async def main(time: VirtualTime) -> None:
        rounds = Rounds(time)
        rounds.failures = [AWAY] * 1000
        async with supervised(Pulses(), Loop(LoopName.AUDIT, rounds.run)):
            await asyncio.sleep(600)
        assert 40 <= len(rounds.at) <= 50

    run(main)


async def _livez(pulses: Pulses) -> tuple[int, str]:
    answer = await Health(pulses).livez(cast("web.Request", None))
    return answer.status, answer.text or ""


async def test_a_loop_that_does_not_come_round_makes_the_pod_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    pulses = Pulses()
    now = 100.0
    pulse = pulses.start(LoopName.STREAMS, limit_seconds=60)
    monkeypatch.setattr(pulse, "_monotonic", lambda: now)
    pulse.beat()
    now += 59
    assert await _livez(pulses) == (200, "ok\n")
    now += 2
    assert await _livez(pulses) == (503, "the loop streams has not come round for 61 s\n")
    assert pulses.ages() == {LoopName.STREAMS: (61, 1)}
    pulses.stop(pulse)
    assert await _livez(pulses) == (200, "ok\n"), "a replica that does not lead has no such loop"


def test_one_item_that_fails_costs_itself_alone_and_is_named_once_a_minute() -> None:
    async def main(time: VirtualTime) -> None:
        now, pulse = 0.0, a_pulse(LoopName.HEARTBEATS)
        pulse._monotonic = lambda: now
        failures = metrics.item_failures.labels(LoopName.HEARTBEATS)._value
        before, handled = failures.get(), []
        for second in range(90):
            now = float(second)
            for namespace in ("poisoned", "calls", "away"):
                with pulse.item("to read heartbeats", namespace=namespace):
                    if namespace == "poisoned":
                        raise OverflowError("cannot convert float infinity to integer")
                    if namespace == "away":
                        raise AWAY
                    handled.append(namespace)
        assert handled == ["calls"] * 90
        assert failures.get() - before == 90
        loud = [entry for entry in time.logs if entry["log_level"] == "error"]
        assert [(entry["namespace"], entry["loop"]) for entry in loud] == [("poisoned", "heartbeats")] * 2

    run(main)
