"""The watch for other operators: which calls get an Event, how often, and what the first look waits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.announce.events import EventPoster, Subject
from controller.api.event_reasons import EventReason
from controller.api.names import MATCH
from controller.backends.bundle import Backends
from controller.backends.neighbors import Installation, Neighbors, Shared
from controller.errors import Backend, BackendUnavailable
from controller.loop.work_queue import WorkQueue
from controller.telemetry.pulse import LoopName, Pulse
from controller.triggers.neighbors import NeighborWatch
from controller.views.calls import CallIndex
from tests import values as b
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.KUBERNETES, "list", "no answer")
OTHER = Installation("elsewhere", "other", frozenset(), "id", True, b.T0.isoformat(), "uid-other")


class FakeNeighbors:
    """Neighbors whose looks end as a test says, in turn; the last one repeats. None hangs."""

    def __init__(self, *answers: BackendUnavailable | tuple[Shared, ...] | None) -> None:
        self.answers = list(answers)
        self.looks = 0
        self.found: tuple[Shared, ...] = ()
        self.is_known = False

    async def look(self) -> None:
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Future()
        elif isinstance(answer, BackendUnavailable):
            raise answer
        else:
            self.found, self.is_known = answer, True

    def serves(self, namespace: str) -> bool:
        return not any(one.covers(namespace) for one in self.found if not one.is_ours)


class Rig:
    """One watch; `posted` counts the Events by Match and sentence."""

    def __init__(self, *answers: BackendUnavailable | tuple[Shared, ...] | None) -> None:
        self.neighbors = FakeNeighbors(*answers)
        self.calls = CallIndex()
        self.posted: Counter[tuple[str, str]] = Counter()
        backends = SimpleNamespace(
            caches={MATCH: SimpleNamespace(names=list)},
            calls=self.calls,
            pools=SimpleNamespace(namespaces=tuple, closed=tuple),
        )
        poster = SimpleNamespace(warning=self._warning)
        self.watch = NeighborWatch(
            cast("Neighbors", self.neighbors), cast("Backends", backends), WorkQueue(), cast("EventPoster", poster)
        )
        self.pulse = Pulse(LoopName.LEAD, 60.0, (BackendUnavailable,))

    def _warning(self, subject: Subject, reason: EventReason, message: str) -> None:
        assert (subject.kind, reason) == (MATCH, EventReason.TWO_OPERATORS)
        self.posted[subject.uid, message] += 1


async def test_each_call_in_a_contested_namespace_gets_one_event_per_sentence() -> None:
    theirs, ours = Shared(OTHER, False, frozenset({b.NAMESPACE})), Shared(OTHER, True, frozenset({b.NAMESPACE}))
    rig = Rig((theirs,), (), (theirs,), (ours,))
    for number in range(30):
        rig.calls.kept(b.active(name=f"m{number}", uid=f"m{number}"))
    rig.calls.kept(b.active(name="over", uid="over", status={"phase": "Ended", "ended_at": b.at(9)}))
    rig.calls.kept(b.active(name="away", uid="away", namespace="another"))
    for _ in range(3):
        await rig.watch.look()
    assert rig.posted == {(f"m{number}", theirs.sentence): 1 for number in range(30)}
    for _ in range(3):
        await rig.watch.look()
    assert rig.posted == {(f"m{number}", one.sentence): 1 for number in range(30) for one in (theirs, ours)}


def in_virtual_time(scenario: Callable[[VirtualTime], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario."""
    run(scenario)


def test_the_first_look_of_a_process_is_repeated_until_there_is_an_answer() -> None:
    async def scenario(_time: VirtualTime) -> None:
        rig = Rig(AWAY, None, AWAY, None, ())
        await rig.watch.first_look(rig.pulse)
        assert (rig.neighbors.looks, rig.neighbors.is_known) == (5, True)

    in_virtual_time(scenario)


@pytest.mark.parametrize("answer", [AWAY, None], ids=["refused", "hangs"])
def test_a_later_term_begins_with_what_an_earlier_one_found(answer: BackendUnavailable | None) -> None:
    async def scenario(time: VirtualTime) -> None:
        rig = Rig(answer)
        rig.neighbors.is_known = True
        began = time.now()
        await rig.watch.first_look(rig.pulse)
        assert rig.neighbors.looks == 1
        assert time.now() - began <= timedelta(seconds=3)

    in_virtual_time(scenario)
