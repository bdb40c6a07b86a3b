"""The watch for other operators: which Matches get an Event, how often, and what the first look waits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.announce.events import EventPoster, Subject
from controller.api.event_reasons import EventReason
from controller.api.names import MATCH
from controller.backends.bundle import Backends
from controller.backends.neighbors import Neighbors
from controller.errors import Backend, BackendUnavailable
from controller.loop.work_queue import WorkQueue
from controller.rules.installations import Installation, Shared
from controller.telemetry.pulse import LoopName, Pulse
from controller.triggers.neighbors import NeighborWatch, until_answered
from controller.views.calls import CallIndex
from tests import values as b
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.KUBERNETES, "list", "no answer")
OTHER = Installation(
    "elsewhere", "other", frozenset(), "id", True, b.T0.isoformat(), "uid-other", "pod", b.at(0), lease_seconds=15
)
THEIRS, OURS = Shared(OTHER, False, frozenset({b.NAMESPACE})), Shared(OTHER, True, frozenset({b.NAMESPACE}))


class FakeNeighbors:
    """Neighbors whose looks end as a test says, in turn; the last one repeats."""

    def __init__(self, *answers: BackendUnavailable | tuple[Shared, ...]) -> None:
        self.answers = list(answers)
        self.looks = 0
        self.found: tuple[Shared, ...] = ()
        self.sees_all = True
        self.noticed_at = 0.0

    @property
    def unnoticed_seconds(self) -> float:
        return max(0.0, self.noticed_at - asyncio.get_running_loop().time())

    @property
    def gives_way(self) -> bool:
        return not all(one.is_ours for one in self.found)

    async def look(self) -> None:
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BackendUnavailable):
            raise answer
        self.found = answer

    def serves(self, namespace: str) -> bool:
        return not any(one.covers(namespace) for one in self.found if not one.is_ours)


class Rig:
    """One watch; `posted` counts the Events by Match and sentence."""

    def __init__(self, *answers: BackendUnavailable | tuple[Shared, ...]) -> None:
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


async def test_each_match_that_is_not_over_in_a_contested_namespace_gets_one_event_per_sentence() -> None:
    rig = Rig((THEIRS,), (THEIRS,), (THEIRS,), (OURS,))
    for number in range(30):
        rig.calls.kept(b.active(name=f"m{number}", uid=f"m{number}"))
    rig.calls.kept(b.a_match(name="new", uid="m30"))
    rig.calls.kept(
        b.active(name="over", uid="over", status={"phase": "Ended", "ended_at": b.at(9), "end": {"reason": "Ended"}})
    )
    rig.calls.kept(b.active(name="away", uid="away", namespace="another"))
    for _ in range(3):
        await rig.watch.look()
    assert rig.posted == {(f"m{number}", THEIRS.sentence): 1 for number in range(31)}
    for _ in range(3):
        await rig.watch.look()
    assert rig.posted == {(f"m{number}", one.sentence): 1 for number in range(31) for one in (THEIRS, OURS)}


def in_virtual_time(scenario: Callable[[VirtualTime], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario."""
    run(scenario)


def test_a_first_look_is_repeated_until_there_is_an_answer_and_a_failure_that_lasts_is_logged_once() -> None:
    async def scenario(time: VirtualTime) -> None:
        rig = Rig(AWAY, AWAY, AWAY, ())
        await until_answered(rig.neighbors.look, rig.pulse)
        assert rig.neighbors.looks == 4
        assert [line["event"] for line in time.logs] == [
            f"this operator decides about no call before it can read the Leases of operators: {AWAY}"
        ]

    in_virtual_time(scenario)


@pytest.mark.parametrize(
    ("found", "sees_all", "has_calls", "waits"),
    [
        ((), True, True, False),
        ((THEIRS,), True, True, False),
        ((OURS,), True, False, True),
        ((), False, False, False),
        ((), False, True, True),
    ],
    ids=["alone", "gives way", "takes over", "sees little, no call", "sees little, calls that may be served"],
)
def test_one_whose_mark_is_new_gives_another_that_may_be_at_work_the_time_to_notice(
    found: tuple[Shared, ...], sees_all: bool, has_calls: bool, waits: bool
) -> None:
    async def scenario(time: VirtualTime) -> None:
        rig = Rig(found)
        rig.neighbors.sees_all = sees_all
        if has_calls:
            rig.calls.kept(b.active())
        for seconds in (10, 0):
            rig.neighbors.noticed_at, began = time.monotonic() + seconds, time.seconds
            await rig.watch.first_look(rig.pulse)
            assert time.seconds - began == (seconds if waits else 0)

    in_virtual_time(scenario)
