"""Bulk keys in hand leave the event loop free: the limit follows how long its turns are."""

from __future__ import annotations

from controller.loop.pace import BulkPace, bulk_hands


def test_long_turns_halve_the_limit_down_to_four_and_short_ones_raise_it_by_one_up_to_all() -> None:
    pace = BulkPace(48)
    assert pace.limit == 4
    for _ in range(100):
        pace.turned(0.0)
    assert pace.limit == 48
    assert [pace.turned(0.4) for _ in range(6)] == [24, 12, 6, 4, 4, 4]
    assert [pace.turned(0.001) for _ in range(3)] == [5, 6, 7]
    for _ in range(100):
        pace.turned(0.0)
    assert pace.limit == 48


def test_a_worker_with_few_hands_has_no_higher_limit_than_its_hands() -> None:
    assert [bulk_hands(concurrency) for concurrency in (1, 2, 4, 64)] == [1, 1, 3, 48]
    assert BulkPace(1).turned(0.4) == 1
