"""The plan of chaos follows from its seed, and every fault of the table has a hand."""

from __future__ import annotations

from tests.chaos.faults import FAULTS, Fault, Lane
from tests.chaos.hands import HANDS
from tests.chaos.plan import draw


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_one() -> None:
    assert draw(7, 600, 1000) == draw(7, 600, 1000)
    assert draw(7, 600, 1000) != draw(8, 600, 1000)


def test_a_plan_of_a_thousand_faults_has_every_kind_in_its_time_and_for_its_length() -> None:
    plan = draw(1, 600, 1000)
    assert len(plan) == 1000
    assert {step.fault for step in draw(1, 600, 10_000)} == set(Fault)
    assert [step.at for step in plan] == sorted(step.at for step in plan)
    for step in plan:
        shortest, longest = FAULTS[step.fault].seconds
        assert 0 <= step.at <= 600
        assert shortest - 0.1 <= step.seconds <= longest + 0.1


def test_a_plan_leaves_out_what_it_is_told_to() -> None:
    restarts = [fault for fault, row in FAULTS.items() if row.restarts]
    assert restarts
    assert not {step.fault for step in draw(1, 600, 1000, without=restarts)} & set(restarts)


def test_every_fault_has_a_row_and_a_hand() -> None:
    assert set(FAULTS) == set(HANDS) == set(Fault)
    assert {row.lane for row in FAULTS.values()} == set(Lane)
