"""The slots of each backend: who gets one, who waits, and that none is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api import names
from controller.errors import Backend
from controller.loop.budgets import Budgets
from controller.loop.key import Key

LIVEKIT = Backend.LIVEKIT
KEYS = [Key(names.ROOM, "calls", name) for name in "abcdef"]
A, B, C, D, *_ = KEYS


def budgets(concurrency: int = 4) -> tuple[Budgets, list[Key]]:
    """Return budgets, and the list of the keys that they wake."""
    woken: list[Key] = []
    return Budgets(concurrency, woken.append), woken


def test_half_of_the_hands_may_wait_for_livekit() -> None:
    made, woken = budgets()
    assert [made.take(key, LIVEKIT) for key in (A, B, C)] == [True, True, False]
    assert (made.waiting(LIVEKIT), woken) == (1, [])


def test_a_backend_that_is_full_delays_no_other_backend() -> None:
    made, _ = budgets()
    for key in KEYS:
        made.take(key, LIVEKIT)
    assert made.take(A, Backend.REDIS)
    assert made.take(A, Backend.KUBERNETES)


def test_a_slot_that_comes_back_goes_to_the_key_that_has_waited_longest() -> None:
    made, woken = budgets()
    for key in (A, B, C, D):
        made.take(key, LIVEKIT)
    made.give_back(LIVEKIT)
    assert woken == [C]
    assert not made.take(A, LIVEKIT), "the slot is promised"
    assert made.take(C, LIVEKIT)


def test_a_promised_slot_that_is_not_needed_goes_to_the_next_key() -> None:
    made, woken = budgets()
    for key in (A, B, C, D):
        made.take(key, LIVEKIT)
    made.give_back(LIVEKIT)
    made.finished(C)
    assert woken == [C, D]
    made.finished(D)
    assert made.take(A, LIVEKIT), "no other key wants it"


def test_a_new_leader_starts_with_all_slots_that_are_not_in_use() -> None:
    made, woken = budgets()
    for key in (A, B, C, D):
        made.take(key, LIVEKIT)
    made.give_back(LIVEKIT)
    made.clear()
    assert made.waiting(LIVEKIT) == 0
    assert made.take(D, LIVEKIT), "B still holds its slot, and the one promised to C is free again"
    assert not made.take(C, LIVEKIT)
    assert woken == [C]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=60))
def test_every_key_that_waits_gets_a_slot_in_the_end(steps: list[tuple[Key, bool]]) -> None:
    made, woken = budgets()
    held: list[Key] = []
    wanting: set[Key] = set()

    def attempt(key: Key) -> None:
        if key in held:
            return
        if made.take(key, LIVEKIT):
            held.append(key)
            wanting.discard(key)
        else:
            wanting.add(key)

    for key, is_attempt in steps:
        if is_attempt or not held:
            attempt(key)
        else:
            held.pop(0)
            made.give_back(LIVEKIT)
        assert len(held) <= 2
    while held or wanting:
        if held:
            held.pop(0)
            made.give_back(LIVEKIT)
        assert woken or not wanting
        for key in woken:
            attempt(key)
            made.finished(key)
        woken.clear()
    assert made.waiting(LIVEKIT) == 0
