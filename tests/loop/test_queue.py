"""The queue of keys, deadlines and backoff: bookkeeping without a loop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.api import names
from controller.loop.backoff import Backoff
from controller.loop.deadlines import Deadlines
from controller.loop.key import Key, in_turn
from controller.loop.lanes import Lane
from controller.loop.queue import KeyQueue
from tests import values as b


def key(name: str, namespace: str = "calls") -> Key:
    """Return the key of a Match."""
    return Key(names.MATCH, namespace, name)


A, B, C = key("a"), key("b"), key("c")
KEYS = [key(name, namespace) for namespace in ("x", "y", "z") for name in "abc"]


def test_a_key_reads_as_kind_namespace_and_name() -> None:
    assert str(Key(names.ROOM, "calls", "rk-1")) == "room/calls/rk-1"


def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    queue = KeyQueue()
    for added in (A, B, C):
        queue.add(added)
    assert [queue.pop(), queue.pop(), queue.pop(), queue.pop()] == [A, B, C, None]


def test_a_key_that_waits_is_not_added_twice() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.add(A)
    assert len(queue) == 1
    assert [queue.pop(), queue.pop()] == [A, None]


def test_a_key_in_hand_is_not_given_out_again_and_comes_back_once() -> None:
    queue = KeyQueue()
    queue.add(A)
    assert queue.pop() == A
    queue.add(A)
    queue.add(A)
    assert (queue.pop(), queue.in_hand) == (None, 1)
    queue.done(A)
    assert (queue.pop(), queue.pop()) == (A, None)
    queue.done(A)
    assert (len(queue), queue.in_hand) == (0, 0)


@pytest.mark.parametrize(
    ("needs_read", "reads", "is_covered"),
    [(True, True, True), (False, True, True), (False, False, True), (True, False, False)],
)
def test_an_observation_covers_the_triggers_before_it(needs_read: bool, reads: bool, is_covered: bool) -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.add(A, needs_read=needs_read)
    queue.seen(A, reads=reads)
    queue.done(A)
    assert (queue.pop() is None) is is_covered


def test_a_trigger_without_details_needs_a_read() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.add(A)
    queue.seen(A, reads=False)
    queue.done(A)
    assert queue.pop() == A


def test_a_wake_that_needs_a_read_is_not_covered_by_one_that_does_not() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.add(A, needs_read=True)
    queue.add(A, needs_read=False)
    queue.seen(A, reads=False)
    queue.done(A)
    assert queue.pop() == A


def test_a_trigger_after_the_observation_brings_the_key_back() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.seen(A, reads=True)
    queue.add(A, needs_read=False)
    queue.done(A)
    assert queue.pop() == A


def test_done_without_a_new_trigger_leaves_nothing() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.done(A)
    assert queue.pop() is None


def test_a_namespace_with_many_keys_delays_another_by_one_place() -> None:
    queue = KeyQueue()
    for number in range(1000):
        queue.add(key(str(number), "crowd"))
    queue.add(key("only", "quiet"))
    assert key("only", "quiet") in [queue.pop(), queue.pop()]


def test_namespaces_take_turns() -> None:
    queue = KeyQueue()
    for each in KEYS:
        queue.add(each)
    taken = [found.namespace for _ in KEYS if (found := queue.pop()) is not None]
    assert taken == ["x", "y", "z"] * 3


def test_clear_forgets_what_waits_and_keeps_what_is_in_hand() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.add(A)
    queue.add(B)
    queue.clear()
    assert (len(queue), queue.in_hand, queue.pop()) == (0, 1, None)
    queue.done(A)
    assert queue.pop() is None


def test_urgent_keys_come_first_in_their_own_order_whatever_their_namespace() -> None:
    queue = KeyQueue()
    far = key("far", "other")
    for added in (A, B, far):
        queue.add(added)
    queue.add(far, lane=Lane.LOST)
    queue.add(C, lane=Lane.LOST)
    queue.add(far, lane=Lane.LOST)
    assert len(queue) == 4
    assert [queue.pop() for _ in range(5)] == [far, C, A, B, None]


def test_an_urgent_key_that_has_been_taken_leaves_nothing_in_its_lane() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.add(A, lane=Lane.LOST)
    assert queue.pop() == A
    queue.done(A)
    assert (len(queue), queue.pop()) == (0, None)
    queue.add(A)
    assert [queue.pop(), queue.pop()] == [A, None]


def test_a_key_that_becomes_urgent_while_in_hand_comes_back_first() -> None:
    queue = KeyQueue()
    queue.add(A)
    queue.pop()
    queue.add(B)
    queue.add(A, lane=Lane.LOST)
    queue.done(A)
    assert [queue.pop(), queue.pop()] == [A, B]
    queue.add(A, lane=Lane.LOST)
    queue.seen(A, reads=True)
    queue.done(A)
    queue.add(C)
    queue.add(A)
    assert [queue.pop(), queue.pop()] == [C, A], "the urgent trigger is covered by the observation"


@pytest.fixture
def crowd() -> list[Key]:
    """Return a thousand keys of ten namespaces."""
    return [key(str(number), f"n{number % 10}") for number in range(1000)]


@pytest.mark.parametrize("fed", [True, False], ids=["fed", "added"])
def test_a_key_that_a_user_waits_for_goes_before_a_thousand_bulk_keys(crowd: list[Key], fed: bool) -> None:
    queue = KeyQueue()
    if fed:
        queue.feed(crowd)
    for each in crowd if not fed else ():
        queue.add(each, lane=Lane.BULK)
    queue.pop()
    queue.add(crowd[777])
    assert queue.pop() == crowd[777]
    rest = [found for _ in crowd if (found := queue.pop()) is not None]
    assert sorted(rest) == sorted(set(crowd) - {crowd[0], crowd[777]}), "each comes once"
    assert not queue.is_fed


def test_bulk_keys_never_hold_all_hands() -> None:
    queue = KeyQueue()
    queue.limit_bulk(2)
    queue.feed(KEYS)
    assert [queue.pop(), queue.pop(), queue.pop()] == [*KEYS[:2], None]
    queue.add(KEYS[5])
    assert queue.pop() == KEYS[5]
    queue.done(KEYS[5])
    assert queue.pop() is None
    queue.done(KEYS[0])
    assert queue.pop() == KEYS[2]


def test_bulk_keys_get_a_turn_even_if_users_wait_all_the_time(crowd: list[Key]) -> None:
    queue = KeyQueue()
    queue.feed(KEYS)
    for each in crowd:
        queue.add(each)
    taken = [queue.pop() for _ in range(len(KEYS) * 9)]
    assert set(KEYS) <= set(taken)


def test_a_fed_key_that_is_in_hand_when_its_turn_comes_is_looked_at_again() -> None:
    queue = KeyQueue()
    queue.add(A)
    assert queue.pop() == A
    queue.feed([A])
    assert queue.pop() is None
    queue.done(A)
    assert queue.pop() == A


def test_a_fed_key_that_was_looked_at_since_then_is_not_looked_at_once_more() -> None:
    queue = KeyQueue()
    queue.feed([A, B, C])
    queue.add(C)
    assert queue.pop() == C
    queue.done(C)
    assert [queue.pop(), queue.pop(), queue.pop()] == [A, B, None]
    queue.feed([C])
    assert queue.pop() == C, "it was looked at before this was fed"


def test_a_cleared_queue_forgets_what_was_to_be_fed() -> None:
    queue = KeyQueue()
    queue.feed(KEYS)
    queue.clear()
    assert (queue.pop(), queue.is_fed) == (None, False)


def test_keys_in_turn_take_the_namespaces_one_after_another() -> None:
    keys = [key("1", "big"), key("2", "big"), key("3", "big"), key("1", "small")]
    assert list(in_turn(keys)) == [keys[0], keys[3], keys[1], keys[2]]


class QueueModel(RuleBasedStateMachine):
    """The queue against a simple model: the waiting keys (and whether each needs a read), and the keys in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = KeyQueue()
        self.queue.limit_bulk(len(KEYS))
        self.wanted: dict[Key, bool] = {}
        self.in_hand: set[Key] = set()

    @rule(added=st.sampled_from(KEYS), needs_read=st.booleans(), lane=st.sampled_from(Lane))
    def add(self, added: Key, needs_read: bool, lane: Lane) -> None:
        """Add a key, as a trigger does."""
        self.queue.add(added, needs_read=needs_read, lane=lane)
        self.wanted[added] = needs_read or self.wanted.get(added, False)

    @rule()
    def feed(self) -> None:
        """Feed all keys, as a start does, and take them in at once."""
        self.queue.feed(KEYS)
        taken = set()
        while (found := self.queue.pop()) is not None:
            taken.add(found)
            self.queue.done(found)
        assert taken == set(KEYS) - self.in_hand
        self.wanted = dict.fromkeys(self.in_hand, True)

    @rule()
    def pop(self) -> None:
        """Take a key, as a free worker does."""
        found = self.queue.pop()
        ready = set(self.wanted) - self.in_hand
        assert (found is None) == (not ready)
        if found is not None:
            assert found in ready
            del self.wanted[found]
            self.in_hand.add(found)

    @rule(chosen=st.sampled_from(KEYS), reads=st.booleans())
    def seen(self, chosen: Key, reads: bool) -> None:
        """Observe the object of a key in hand, as a reconcile does."""
        if chosen in self.in_hand:
            self.queue.seen(chosen, reads=reads)
            if reads or not self.wanted.get(chosen, True):
                self.wanted.pop(chosen, None)

    @rule(chosen=st.sampled_from(KEYS))
    def done(self, chosen: Key) -> None:
        """Finish a key in hand."""
        if chosen in self.in_hand:
            self.queue.done(chosen)
            self.in_hand.discard(chosen)

    @invariant()
    def counts_agree(self) -> None:
        """No key is lost, and none is in hand twice."""
        assert len(self.queue) == len(set(self.wanted) - self.in_hand)
        assert self.queue.in_hand == len(self.in_hand)


QueueModel.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, derandomize=True)
test_the_queue_behaves_like_two_sets = QueueModel.TestCase


# Deadlines


def test_due_takes_out_what_is_not_after_now_in_order() -> None:
    deadlines = Deadlines()
    for each, seconds in ((A, 3), (B, 1), (C, 5)):
        deadlines.set(each, b.at(seconds))
    assert deadlines.next_at() == b.at(1)
    assert deadlines.due(b.at(3)) == [B, A]
    assert deadlines.due(b.at(3)) == []
    assert (deadlines.next_at(), len(deadlines)) == (b.at(5), 1)


@pytest.mark.parametrize("seconds", [1, 9])
def test_a_later_deadline_replaces_the_earlier_one(seconds: float) -> None:
    deadlines = Deadlines()
    deadlines.set(A, b.at(5))
    deadlines.set(A, b.at(seconds))
    assert (len(deadlines), deadlines.next_at()) == (1, b.at(seconds))
    assert deadlines.due(b.at(9)) == [A]
    assert deadlines.due(b.at(99)) == []


def test_none_removes_a_deadline() -> None:
    deadlines = Deadlines()
    deadlines.set(A, b.at(1))
    deadlines.set(A, None)
    deadlines.set(B, None)
    assert (len(deadlines), deadlines.next_at(), deadlines.due(b.at(9))) == (0, None, [])


def test_clear_forgets_all_deadlines() -> None:
    deadlines = Deadlines()
    deadlines.set(A, b.at(1))
    deadlines.clear()
    assert (len(deadlines), deadlines.next_at()) == (0, None)


_SETTING = st.tuples(st.sampled_from([A, B, C]), st.none() | st.integers(0, 20))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=st.lists(_SETTING, max_size=30), moments=st.lists(st.integers(0, 20), max_size=5))
def test_deadlines_behave_like_a_plain_map(steps: list[tuple[Key, int | None]], moments: list[int]) -> None:
    deadlines, model = Deadlines(), dict[Key, int]()
    asked = iter(moments)
    for number, (each, seconds) in enumerate(steps):
        deadlines.set(each, None if seconds is None else b.at(seconds))
        model.pop(each, None)
        if seconds is not None:
            model[each] = seconds
        if number % 4 == 3 and (now := next(asked, None)) is not None:
            due = deadlines.due(b.at(now))
            assert sorted(due) == sorted(each for each, at in model.items() if at <= now)
            taken = [model.pop(each) for each in due]
            assert taken == sorted(taken)
        assert len(deadlines) == len(model)
        assert deadlines.next_at() == (b.at(min(model.values())) if model else None)


# Backoff


class Loaded(random.Random):
    """A generator that always returns the same number."""

    def __init__(self, throw: float) -> None:
        super().__init__(0)
        self._throw = throw

    def random(self) -> float:
        return self._throw


@pytest.mark.parametrize(("throw", "first"), [(0.0, 0.05), (0.5, 0.075), (1.0, 0.1)])
def test_the_first_pause_is_between_half_and_all_of_the_base(throw: float, first: float) -> None:
    assert Backoff(rng=Loaded(throw)).failed(A) == pytest.approx(first)


def test_pauses_double_up_to_the_cap() -> None:
    backoff = Backoff(rng=Loaded(1.0))
    pauses = [backoff.failed(A) for _ in range(40)]
    assert pauses[:8] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8])
    assert set(pauses[8:]) == {15.0}


def test_a_step_that_no_user_waits_for_leaves_out_the_three_quick_attempts() -> None:
    waited, other = Backoff(rng=Loaded(1.0)), Backoff(rng=Loaded(1.0))
    assert sum(waited.failed(A) for _ in range(3)) == pytest.approx(0.7)
    assert [other.failed(A, is_waited_for=False) for _ in range(2)] == pytest.approx([0.8, 1.6])


def test_success_forgets_and_keys_do_not_share_failures() -> None:
    backoff = Backoff(rng=Loaded(1.0))
    backoff.failed(A)
    backoff.failed(A)
    assert (backoff.failures(A), backoff.failures(B)) == (2, 0)
    backoff.succeeded(A)
    backoff.succeeded(B)
    assert backoff.failures(A) == 0
    assert backoff.failed(A) == pytest.approx(0.1)


def test_pauses_of_many_keys_are_spread() -> None:
    backoff = Backoff(rng=random.Random(1))
    pauses = {backoff.failed(key(str(number))) for number in range(100)}
    assert len(pauses) == 100
    assert all(0.05 <= pause <= 0.1 for pause in pauses)
