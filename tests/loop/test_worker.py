"""The worker: one reconcile per key at a time, and what follows from each result, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from controller.announce.error_records import ErrorRecords
from controller.api import names
from controller.clients.breaker import RULES, Breaker, Ticket
from controller.errors import Backend, BackendUnavailable, Conflict, LeadershipLost, NotFound, StateLost
from controller.loop.key import Key
from controller.loop.pace import TICK_SECONDS, BulkPace
from controller.loop.recovery import Recovery
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.loop.worker import Result, Worker
from tests.virtual_time import VirtualTime, run

A, B = Key(names.MATCH, "calls", "a"), Key(names.MATCH, "calls", "b")
AWAY = BackendUnavailable(Backend.REDIS, "claim", "no answer")
MOVED_ON = Conflict(Backend.KUBERNETES, "patch", "moved on")


class _Empty:
    """A cache without objects."""

    def get(self, namespace: str, name: str) -> None:
        return None


def rig_recovery(time: VirtualTime) -> Recovery:
    """What follows from errors, without Redis and without objects."""
    backends = SimpleNamespace(caches=defaultdict(_Empty))
    return Recovery(ErrorRecords(cast("Any", None), "test", cast("Any", time), "replica"), cast("Any", backends))


Answer = Result | BaseException | Callable[[], Coroutine[Any, Any, Result]]


class Rig:
    """A worker whose reconciles return the answers of a test; it repeats the last answer of a key for ever."""

    def __init__(
        self,
        time: VirtualTime,
        *,
        concurrency: int = 4,
        timeout_seconds: float = 30.0,
        bulk_pace: BulkPace | None = None,
    ) -> None:
        self.time = time
        self.breaker = Breaker(RULES[Backend.REDIS])
        self.answers: dict[Key, list[Answer]] = defaultdict(lambda: [Result()])
        self.runs: dict[Key, list[float]] = defaultdict(list)
        self.in_hand: dict[Key, int] = defaultdict(int)
        self.queue = WorkQueue()
        self.queue.limit_bulk(max(1, concurrency * 3 // 4))
        self.worker = Worker(
            self._reconcile,
            self.queue,
            time,
            rig_recovery(time),
            breaker_of=self._breaker_of,
            concurrency=concurrency,
            timeout_seconds=timeout_seconds,
            bulk_pace=bulk_pace,
        )
        self.queue.follow(self.worker.pump)
        self.worker.start()

    def _breaker_of(self, _key: Key, _backend: str) -> Breaker:
        return self.breaker

    def backend_goes(self) -> None:
        """Let the backend be away, without any probe for a while."""
        now = self.time.monotonic()
        for sent_at in (now - 100, now - 50, now):
            self.breaker.failed(AWAY, Ticket.ORDINARY, sent_at=sent_at, now=sent_at)
        assert self.breaker.enter(now + 60) is Ticket.PROBE

    async def _reconcile(self, key: Key) -> Result:
        self.runs[key].append(round(self.time.seconds, 3))
        assert len(self.runs[key]) < 1000, "the key spins"
        self.in_hand[key] += 1
        assert self.in_hand[key] == 1, "two reconciles of one key run at once"
        answers = self.answers[key]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            if isinstance(answer, BaseException):
                raise answer
            return answer if isinstance(answer, Result) else await answer()
        finally:
            self.in_hand[key] -= 1

    async def after(self, seconds: float) -> None:
        """Let this time pass."""
        await asyncio.sleep(seconds)
        await self.time.settle()

    def deadline(self, seconds: float) -> Result:
        """Return a result with a deadline at this second."""
        return Result(self.time.now() + timedelta(seconds=seconds - self.time.seconds))


def takes(seconds: float, result: Result | None = None) -> Callable[[], Coroutine[Any, Any, Result]]:
    """Return a reconcile that takes this long."""

    async def answer() -> Result:
        await asyncio.sleep(seconds)
        return result or Result()

    return answer


def in_virtual_time(scenario: Callable[[Rig], Coroutine[Any, Any, None]], **options: Any) -> Rig:
    """Run a scenario; return its rig."""

    async def main(time: VirtualTime) -> Rig:
        rig = Rig(time, **options)
        await scenario(rig)
        return rig

    return run(main)


def test_triggers_of_a_key_that_waits_run_it_once() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[B] = [takes(1)]
        rig.queue.enqueue(B, Wake.SIGNAL)
        for _ in range(5):
            rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(10)

    rig = in_virtual_time(scenario, concurrency=1)
    assert rig.runs == {B: [0.0], A: [1.0]}
    assert rig.worker.is_idle()


def test_a_key_triggered_while_in_hand_runs_once_more_and_never_beside_itself() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [takes(2.0), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        for _ in range(5):
            rig.queue.enqueue(A, Wake.SIGNAL)
        assert not rig.worker.is_idle()
        await rig.after(10)

    assert in_virtual_time(scenario).runs == {A: [0.0, 2.0]}


@pytest.mark.parametrize(
    ("wake", "reads", "runs"),
    [
        (Wake.WEBHOOK, True, [0.0]),
        (Wake.WEBHOOK, False, [0.0, 2.0]),
        (Wake.OBJECT, False, [0.0]),
        (Wake.OBJECT, True, [0.0]),
    ],
)
def test_a_wake_before_the_observation_needs_no_other_run(wake: Wake, reads: bool, runs: list[float]) -> None:
    async def scenario(rig: Rig) -> None:
        async def looks_late() -> Result:
            await asyncio.sleep(1)
            rig.queue.observing(A, reads=reads)
            await asyncio.sleep(1)
            return Result()

        rig.answers[A] = [looks_late, Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(0.5)
        rig.queue.enqueue(A, wake)
        await rig.after(10)

    assert in_virtual_time(scenario).runs == {A: runs}


def test_no_more_than_concurrency_run_at_once_and_the_rest_waits_its_turn() -> None:
    keys = [Key(names.MATCH, "calls", str(number)) for number in range(6)]

    async def scenario(rig: Rig) -> None:
        for each in keys:
            rig.answers[each] = [takes(1.0)]
            rig.queue.enqueue(each, Wake.SIGNAL)
        await rig.after(10)

    rig = in_virtual_time(scenario, concurrency=2)
    assert [rig.runs[each] for each in keys] == [[0.0], [0.0], [1.0], [1.0], [2.0], [2.0]]


def test_a_room_that_was_lost_is_taken_before_all_that_waits() -> None:
    room = Key(names.ROOM, "calls", "rk-1")

    async def scenario(rig: Rig) -> None:
        for number in range(20):
            key = Key(names.MATCH, "calls", str(number))
            rig.answers[key] = [takes(1)]
            rig.queue.enqueue(key, Wake.LIVEKIT)
        rig.queue.enqueue(room, Wake.LOST)
        await rig.after(30)

    rig = in_virtual_time(scenario, concurrency=4)
    assert rig.runs[room] == [1.0]


def test_a_skip_does_not_wait_for_the_thousand_keys_of_a_start() -> None:
    keys = [Key(names.MATCH, "calls", str(number)) for number in range(1000)]

    async def scenario(rig: Rig) -> None:
        for each in keys:
            rig.answers[each] = [takes(1)]
        rig.queue.feed(keys, Wake.START)
        await rig.after(0.5)
        rig.queue.enqueue(keys[900], Wake.SIGNAL)
        rig.queue.enqueue(A, Wake.OBJECT)
        assert not rig.worker.is_idle()
        await rig.after(400)

    rig = in_virtual_time(scenario, concurrency=4)
    assert (rig.runs[keys[900]][0], rig.runs[A]) == (0.5, [1.0])
    assert all(rig.runs[each] for each in keys)
    assert rig.worker.is_idle()


class _LongTurns(BulkPace):
    """Every turn of the event loop is long."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.asked = 0

    def turned(self, late_seconds: float) -> int:
        self.asked += 1
        return super().turned(late_seconds + 0.4)


def test_few_bulk_keys_are_in_hand_while_turns_are_long_and_all_get_their_turn() -> None:
    keys = [Key(names.MATCH, "calls", str(number)) for number in range(100)]
    pace, in_hand = _LongTurns(48), list[int]()

    async def scenario(rig: Rig) -> None:
        for each in keys:
            rig.answers[each] = [takes(1)]
        rig.queue.feed(keys, Wake.START)
        in_hand.append(rig.queue.in_hand)
        await rig.after(3.5)
        in_hand.append(rig.queue.in_hand)
        rig.queue.enqueue(A, Wake.OBJECT)
        in_hand.append(rig.queue.in_hand)
        await rig.after(100)

    rig = in_virtual_time(scenario, concurrency=64, bulk_pace=pace)
    assert in_hand == [4, 4, 5]
    assert all(rig.runs[each] for each in keys)
    assert rig.worker.is_idle()
    assert pace.asked < 60 / TICK_SECONDS, "no turn is looked at while no bulk key is in hand"


def test_no_turn_is_looked_at_after_a_stop_in_which_bulk_keys_came_to_their_end() -> None:
    """The queue may belong to the next worker by then."""
    keys = [Key(names.MATCH, "calls", str(number)) for number in range(100)]
    pace, asked = _LongTurns(48), list[int]()

    async def scenario(rig: Rig) -> None:
        for number, each in enumerate(keys):
            rig.answers[each] = [takes(1 + number / 1000)]
        rig.queue.feed(keys, Wake.START)
        await rig.after(0.5)
        asked.append(pace.asked)
        await rig.worker.stop(5)
        await rig.after(5)
        asked.append(pace.asked)

    in_virtual_time(scenario, concurrency=64, bulk_pace=pace)
    assert asked[0] > 0
    assert asked[1] == asked[0]


def test_deadlines_ring_in_their_order_each_at_its_time() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [rig.deadline(7), Result()]
        rig.answers[B] = [rig.deadline(3), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        rig.queue.enqueue(B, Wake.SIGNAL)
        await rig.after(20)

    assert in_virtual_time(scenario).runs == {A: [0.0, 7.0], B: [0.0, 3.0]}


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_neither_delays_a_deadline_nor_brings_it_forward(hours: int) -> None:
    """One that is set after the clock comes in time, too, although the timer waits for an earlier one."""

    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [rig.deadline(7), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        rig.time.set_by += timedelta(hours=hours)
        rig.worker.clock_was_set(timedelta(hours=hours))
        rig.answers[B] = [rig.deadline(3), rig.deadline(9), Result()]
        rig.queue.enqueue(B, Wake.SIGNAL)
        await rig.after(20)

    assert in_virtual_time(scenario).runs == {A: [0.0, 7.0], B: [1.0, 3.0, 9.0]}


def test_the_latest_reconcile_replaces_the_deadline() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [rig.deadline(5), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(20)

    assert in_virtual_time(scenario).runs == {A: [0.0, 1.0]}


def test_a_deadline_that_has_passed_runs_at_once() -> None:
    async def scenario(rig: Rig) -> None:
        await rig.after(5)
        rig.answers[A] = [rig.deadline(1), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(0.01)

    assert in_virtual_time(scenario).runs == {A: [5.0, 5.0]}


@pytest.mark.parametrize("answer", [Result(error=AWAY), ValueError("a bug")], ids=["error", "bug"])
def test_failures_are_repeated_less_and_less_often(answer: Result | ValueError) -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [answer]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(60)
        assert rig.worker.failures(A) == len(rig.runs[A])

    runs = in_virtual_time(scenario).runs[A]
    pauses = [later - earlier for earlier, later in itertools.pairwise(runs)]
    assert 0.05 <= pauses[0] <= 0.1
    assert all(pause <= 15.001 for pause in pauses)
    assert max(pauses) > 5
    assert 8 <= len(runs) <= 18


def test_a_success_forgets_the_failures() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=AWAY), Result(error=AWAY), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(10)
        assert rig.worker.failures(A) == 0

    assert len(in_virtual_time(scenario).runs[A]) == 3


def test_a_conflict_is_looked_at_again_almost_at_once() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=MOVED_ON), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(10)
        assert rig.worker.failures(A) == 0

    assert in_virtual_time(scenario).runs == {A: [0.0, 0.02]}


def test_a_conflict_that_does_not_pass_is_repeated_less_and_less_often() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=MOVED_ON)]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(60)

    runs = in_virtual_time(scenario).runs[A]
    assert runs[:4] == [0.0, 0.02, 0.04, 0.06]
    assert runs[4] - runs[3] >= 0.2
    assert len(runs) < 20


def test_a_refusal_that_is_no_conflict_is_repeated_after_a_backoff() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=NotFound(Backend.KUBERNETES, "get", "no such thing")), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(10)

    runs = in_virtual_time(scenario).runs[A]
    assert 0.05 <= runs[1] <= 0.1


def test_a_backend_that_asks_to_wait_is_not_asked_before() -> None:
    async def scenario(rig: Rig) -> None:
        busy = BackendUnavailable(Backend.KUBERNETES, "create", "too many requests", code="429")
        busy.retry_after_seconds = 5.0
        rig.answers[A] = [Result(error=busy), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(10)

    runs = in_virtual_time(scenario).runs[A]
    assert 5.0 <= runs[1] <= 5.1


def test_a_reconcile_that_hangs_is_cut_off_and_repeated() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [takes(1000), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(10)

    runs = in_virtual_time(scenario, timeout_seconds=5.0).runs[A]
    assert runs[0] == 0.0
    assert 5.05 <= runs[1] <= 5.1


def test_a_lease_with_too_little_time_left_loses_no_key() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [LeadershipLost("too little of it is left"), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(60)
        assert rig.worker.failures(A) == 0

    assert len(in_virtual_time(scenario).runs[A]) == 2


def test_one_poisoned_key_delays_no_other() -> None:
    others = [Key(names.MATCH, "calls", str(number)) for number in range(20)]

    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [RuntimeError("poison")]
        rig.answers[B] = [takes(1000)]
        for each in (A, B, *others):
            rig.queue.enqueue(each, Wake.SIGNAL)
        await rig.after(1)

    rig = in_virtual_time(scenario, concurrency=4)
    assert all(rig.runs[each] == [0.0] for each in others)
    assert "reconcile failed unexpectedly" in [entry["event"] for entry in rig.time.logs]


def test_before_start_and_after_stop_nothing_is_taken() -> None:
    async def main(time: VirtualTime) -> list[float]:
        rig = Rig(time)
        await rig.worker.stop(grace_seconds=0)
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(5)
        return rig.runs[A]

    assert run(main) == []


def test_stop_lets_those_in_hand_finish_and_forgets_the_rest() -> None:
    finished = []

    async def slow() -> Result:
        await asyncio.sleep(2)
        finished.append(A)
        return Result()

    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [slow]
        rig.queue.enqueue(A, Wake.SIGNAL)
        rig.queue.enqueue(B, Wake.SIGNAL)
        await rig.after(1)
        await rig.worker.stop(grace_seconds=30)
        assert rig.time.seconds == pytest.approx(2)
        await rig.after(60)

    rig = in_virtual_time(scenario, concurrency=1)
    assert (finished, rig.runs[B]) == ([A], [])
    assert rig.worker.is_idle()


def test_stop_cancels_what_does_not_finish_in_time() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [takes(1000)]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        await rig.worker.stop(grace_seconds=3)
        assert rig.time.seconds == pytest.approx(4)

    rig = in_virtual_time(scenario)
    assert rig.worker.is_idle()
    assert rig.in_hand[A] == 0


def test_stop_forgets_deadlines_and_a_new_start_begins_afresh() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [rig.deadline(5), Result()]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        await rig.worker.stop(grace_seconds=0)
        await rig.after(10)
        assert rig.runs[A] == [0.0]
        rig.worker.start()
        rig.queue.enqueue(A, Wake.START)
        await rig.after(1)

    assert in_virtual_time(scenario).runs == {A: [0.0, 11.0]}


def test_a_reconcile_that_ends_after_stop_sets_no_deadline() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [takes(2, rig.deadline(5))]
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        await rig.worker.stop(grace_seconds=30)
        rig.worker.start()
        await rig.after(60)

    assert in_virtual_time(scenario).runs == {A: [0.0]}


OUTCOMES: list[tuple[str, Answer]] = [
    ("ok", Result()),
    ("conflict", Result(error=MOVED_ON)),
    ("retry", Result(error=AWAY)),
    ("timeout", takes(1000)),
    ("bug", ValueError("a bug")),
    ("not-leader", LeadershipLost("another replica")),
]


@pytest.mark.parametrize(("outcome", "answer"), OUTCOMES, ids=[case[0] for case in OUTCOMES])
def test_every_outcome_is_counted_by_its_name(outcome: str, answer: Answer) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("roomkeeper_reconciles_total", {"kind": "Match", "result": outcome}) or 0.0

    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [answer, Result()]
        before = count()
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(40)
        assert count() - before == 1.0

    rig = in_virtual_time(scenario)
    told = {
        "timeout": "reconcile took too long",
        "bug": "reconcile failed unexpectedly",
        "not-leader": "reconcile given up",
    }
    assert outcome not in told or told[outcome] in [entry["event"] for entry in rig.time.logs]


def test_a_worker_that_was_never_started_takes_nothing() -> None:
    async def main(time: VirtualTime) -> list[Key]:
        taken = []

        async def reconcile(key: Key) -> Result:
            taken.append(key)
            return Result()

        queue = WorkQueue()
        worker = Worker(reconcile, queue, time, rig_recovery(time))
        queue.follow(worker.pump)
        queue.enqueue(A, Wake.SIGNAL)
        await time.settle()
        worker.start()  # every key is enqueued after this
        await time.settle()
        return taken

    assert run(main) == []


def test_a_key_whose_backend_is_away_is_only_looked_at_until_it_answers_and_comes_back_at_once() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=AWAY)]
        rig.backend_goes()
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(60)
        rig.answers[A] = [Result()]
        rig.breaker.answered(rig.time.monotonic())
        await rig.after(60)

    runs = in_virtual_time(scenario).runs[A]
    assert 5 <= len(runs) <= 8
    assert all(10 <= later - earlier <= 15 for earlier, later in itertools.pairwise(runs[:-1]))
    assert runs[-1] == 60.0


def test_a_key_whose_backend_is_away_still_meets_its_deadline() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(rig.deadline(4).deadline, AWAY), Result()]
        rig.backend_goes()
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(60)

    assert in_virtual_time(scenario).runs[A] == [0.0, 4.0]


def test_a_deadline_of_the_past_does_not_wake_a_key_whose_backend_is_away() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(rig.deadline(-4).deadline, AWAY)]
        rig.backend_goes()
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(60)

    assert 4 <= len(in_virtual_time(scenario).runs[A]) <= 7


def test_a_key_whose_backend_answers_again_and_fails_otherwise_has_a_backoff() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=AWAY)]
        rig.backend_goes()
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        rig.breaker.answered(rig.time.monotonic())
        await rig.after(1)

    rig = in_virtual_time(scenario)
    assert len(rig.runs[A]) >= 4
    assert rig.worker.failures(A) >= 3


def test_after_the_lease_is_lost_no_key_waits_for_a_backend() -> None:
    async def scenario(rig: Rig) -> None:
        rig.answers[A] = [Result(error=AWAY)]
        rig.backend_goes()
        rig.queue.enqueue(A, Wake.SIGNAL)
        await rig.after(1)
        await rig.worker.stop(0)
        rig.worker.start()
        rig.breaker.answered(rig.time.monotonic())
        await rig.after(60)

    assert in_virtual_time(scenario).runs[A] == [0.0]


def test_data_that_redis_lost_is_one_warning_for_all_keys() -> None:
    lost = StateLost(Backend.REDIS, "claim", "Redis lost data")

    async def scenario(rig: Rig) -> None:
        for key in (A, B):
            rig.answers[key] = [Result(error=lost), Result()]
            rig.queue.enqueue(key, Wake.SIGNAL)
        await rig.after(10)

    told = [entry["log_level"] for entry in in_virtual_time(scenario).time.logs if "repeated" in entry["event"]]
    assert told == ["warning", "debug"]
