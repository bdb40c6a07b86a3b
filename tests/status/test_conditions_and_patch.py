"""The setter of conditions, and the smallest patch from one status to another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.conditions import ConditionReason, ConditionType
from controller.api.meta import Condition, ConditionStatus
from controller.status.conditions import Verdict, false, merge, true
from controller.status.patch import merge_patch
from tests import values as b

_C, _T = ConditionReason, ConditionType
BEFORE = (
    Condition(
        type="Ready", status=ConditionStatus.TRUE, reason="RoomCreated", message="there", last_transition_time=b.at(1)
    ),
)


@pytest.mark.parametrize(
    ("verdict", "moved"),
    [
        (true(_T.READY, _C.ROOM_CREATED, "there"), False),
        (true(_T.READY, _C.PROVISIONED, "there"), False),
        (true(_T.READY, _C.ROOM_CREATED, "another sentence"), False),
        (false(_T.READY, _C.ROOM_CREATED, "there"), True),
        (Verdict(_T.READY, ConditionStatus.UNKNOWN, _C.ROOM_CREATED, "there"), True),
        (true(_T.HEALTHY, _C.ROOM_CREATED, "there"), True),
    ],
)
def test_the_transition_time_moves_only_with_the_status(verdict: Verdict, moved: bool) -> None:
    (condition,) = merge(BEFORE, [verdict], 1, b.at(9))
    assert condition.last_transition_time == (b.at(9) if moved else b.at(1))
    assert (condition.reason, condition.message) == (verdict.reason, verdict.message)


def test_the_generation_is_rewritten_in_every_condition() -> None:
    conditions = merge(
        BEFORE, [true(_T.READY, _C.ROOM_CREATED, "there"), false(_T.FINISHED, _C.NO_ROOM, "")], 7, b.at(9)
    )
    assert [condition.observed_generation for condition in conditions] == [7, 7]


def test_conditions_follow_the_verdicts_and_drop_what_they_do_not_name() -> None:
    conditions = merge(BEFORE, [false(_T.DEGRADED, _C.NO_ROOM, ""), true(_T.ACCEPTED, _C.AS_EXPECTED, "")], 1, b.at(9))
    assert [condition.type for condition in conditions] == ["Degraded", "Accepted"]


def test_transition_times_are_whole_seconds() -> None:
    (condition,) = merge((), [true(_T.READY, _C.ROOM_CREATED, "")], 1, b.at(9.75))
    assert condition.last_transition_time == b.at(9)


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {}, {"a": None}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, {}),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3]}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_patch_says_no_more_than_it_must(
    before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert merge_patch(before, after) == patch


_SCALARS = st.one_of(st.integers(-3, 3), st.booleans(), st.text("ab", max_size=2))
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3)
)
_OBJECTS = st.dictionaries(st.text("abc", max_size=1), _VALUES, max_size=4)


def apply(target: Any, patch: Any) -> Any:
    """Apply a merge patch exactly as RFC 7386 describes it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result


@settings(max_examples=100, deadline=None, derandomize=True)
@given(before=_OBJECTS, after=_OBJECTS)
def test_applying_the_patch_to_before_gives_after(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert apply(before, merge_patch(before, after)) == after


@settings(max_examples=50, deadline=None, derandomize=True)
@given(same=_OBJECTS)
def test_nothing_changed_is_nothing_to_send(same: dict[str, Any]) -> None:
    assert merge_patch(same, dict(same)) == {}
