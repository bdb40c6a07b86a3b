"""How a replica leads: what it waits for before it works, and what ends the wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.names import MATCH
from controller.app import life
from controller.app.life import Operator
from controller.app.wiring import Parts
from controller.backends.lease import Predecessor
from controller.loop.key import Key
from controller.telemetry.pulse import LoopName, Pulse, Pulses
from tests.virtual_time import VirtualTime, run


class Rig:
    """One replica whose lease is held until `lost` is set, and whose first look ends when `answered` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answered, self.lost = asyncio.Event(), asyncio.Event()
        self.said: list[str] = []
        self.livekit_seconds = 0.0
        self.asked_for: list[tuple[str, str]] = []
        self.calls = [Key(MATCH, "calls", name) for name in ("empty", "busy")]
        self.uncounted: list[Key] = []
        leadership = SimpleNamespace(acquire=self._acquire, hold=self._hold, predecessor=Predecessor())
        parts = SimpleNamespace(
            settings=None,
            clock=SimpleNamespace(follow=lambda _: None),
            health=SimpleNamespace(is_stopping=False),
            leadership=leadership,
            neighbors=SimpleNamespace(learn=self._learn, begin=lambda _: self.said.append("begin")),
            handover=SimpleNamespace(begin=lambda *_: None, end=lambda: None),
            pulses=Pulses(),
            caches={MATCH: SimpleNamespace(names=lambda: [(key.namespace, key.name) for key in self.calls])},
            calls=SimpleNamespace(asked_for=lambda: self.asked_for),
            queue=SimpleNamespace(
                feed=lambda keys, _wake: self.said.append(" ".join(sorted(key.name for key in keys))),
                enqueue=lambda key, _wake: self.said.append(key.name),
            ),
        )
        term = SimpleNamespace(
            backends=SimpleNamespace(servers=()),
            neighbors=SimpleNamespace(first_look=self._first_look),
            pollers=SimpleNamespace(
                first_lists=self._first_lists,
                tell_of_lost=lambda: self.said.append("lost rooms"),
                to_be_counted=lambda: iter(self.uncounted),
            ),
            loops=tuple,
            worker=SimpleNamespace(start=lambda: self.said.append("work")),
            end=self._end,
        )
        monkeypatch.setattr(life, "begin_term", lambda _parts, _epoch: term)
        self.operator = Operator(cast("Parts", parts))
        self.pulse = Pulse(LoopName.LEAD, 60.0)

    async def _learn(self) -> None:
        self.said.append("learn")

    async def _acquire(self, _beat: Callable[[], None]) -> int:
        self.said.append("acquire")
        self.lost.clear()
        return 1

    async def _hold(self, _beat: Callable[[], None]) -> None:
        self.said.append("hold")
        await self.lost.wait()

    async def _first_look(self, _pulse: Pulse) -> None:
        await self.answered.wait()

    async def _first_lists(self, patience_seconds: float | None = None) -> None:
        """LiveKit answers after `livekit_seconds`."""
        await asyncio.sleep(min(self.livekit_seconds, patience_seconds or self.livekit_seconds))

    async def _end(self) -> None:
        self.said.append("end")

    @contextlib.asynccontextmanager
    async def leading(self) -> Any:
        """The replica leads during the block, and is stopped at its end."""
        task = asyncio.create_task(self.operator._lead(self.pulse))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def in_virtual_time(scenario: Callable[[VirtualTime], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario."""
    run(scenario)


def test_the_lease_is_renewed_while_the_first_look_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(monkeypatch)
        async with rig.leading():
            await asyncio.sleep(100)
            assert rig.said == ["learn", "acquire", "begin", "hold"]
            rig.answered.set()
            await asyncio.sleep(1)
            assert rig.said == ["learn", "acquire", "begin", "hold", "work", "lost rooms", "busy empty"]
        assert rig.said == ["learn", "acquire", "begin", "hold", "work", "lost rooms", "busy empty", "end"]

    in_virtual_time(scenario)


def test_a_lease_that_is_lost_before_there_is_an_answer_ends_the_term(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(monkeypatch)
        async with rig.leading():
            await asyncio.sleep(10)
            rig.lost.set()
            await asyncio.sleep(10)
            assert rig.said == ["learn", "acquire", "begin", "hold", "end", "acquire", "begin", "hold"]

    in_virtual_time(scenario)


def test_a_stop_does_not_wait_for_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(monkeypatch)
        async with rig.leading():
            await asyncio.sleep(10)
        assert rig.said == ["learn", "acquire", "begin", "hold", "end"]
        assert len(asyncio.all_tasks()) <= 2, "nothing of the term is left behind"

    in_virtual_time(scenario)


def test_a_skip_of_before_the_start_does_not_wait_for_a_livekit_that_hangs_and_calls_are_decided_once_it_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is decided about ten thousand calls before their rooms are known would be decided once more."""

    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(monkeypatch)
        rig.livekit_seconds, rig.asked_for = 4.0, [("calls", "skipped")]
        rig.answered.set()
        async with rig.leading():
            await asyncio.sleep(1)
            assert rig.said[-3:] == ["work", "lost rooms", "skipped"]
            await asyncio.sleep(5)
            assert rig.said[-2:] == ["skipped", "busy empty"]

    in_virtual_time(scenario)


def test_a_lease_that_is_lost_while_livekit_hangs_ends_the_term(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(monkeypatch)
        rig.livekit_seconds = 1000.0
        rig.answered.set()
        async with rig.leading():
            await asyncio.sleep(2)
            rig.lost.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            assert rig.said[4:8] == ["work", "lost rooms", "end", "acquire"]

    in_virtual_time(scenario)


def test_a_call_is_decided_once_it_is_known_who_is_in_its_room_and_after_a_while_in_any_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(monkeypatch)
        rig.uncounted = rig.calls[1:]
        rig.answered.set()
        async with rig.leading():
            await asyncio.sleep(20)
            assert rig.said[-1] == "empty"
            await asyncio.sleep(20)
            assert rig.said[-1] == "busy", "LiveKit does not say who is in its room"

    in_virtual_time(scenario)
