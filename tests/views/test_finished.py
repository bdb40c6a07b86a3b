"""Which finished Matches exceed the number that a namespace keeps."""

from __future__ import annotations

import random

import pytest

from controller.api.match import Match
from controller.views.finished import FinishedMatches
from tests import values as b


def over(number: int, *, namespace: str = "calls", ended: float | None = None, deleted: bool = False) -> Match:
    """A Match that ended at the second of its number."""
    ended_at = b.at(number if ended is None else ended)
    return b.a_match(
        namespace=namespace,
        name=f"m{number}",
        uid=f"{namespace}-{number}",
        deleted=deleted,
        status={"phase": "Ended", "ended_at": ended_at},
    )


class Rig:
    """A view that keeps three Matches, and what it reported."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.index = FinishedMatches(3, lambda namespace, name: self.told.append(f"{namespace}/{name}"))

    def surplus(self, *matches: Match) -> list[str]:
        """The names of those among `matches` that exceed the limit."""
        return [match.metadata.name for match in matches if self.index.is_over_limit(match.metadata.uid)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_oldest_exceed_the_limit_in_whatever_order_they_come(rig: Rig) -> None:
    matches = [over(number) for number in range(50)]
    shuffled = random.Random(1).sample(matches, len(matches))
    for match in shuffled:
        rig.index.kept(match)
    assert rig.surplus(*matches) == [f"m{number}" for number in range(47)]
    assert sorted(rig.told) == sorted(f"calls/m{number}" for number in range(47))


def test_the_time_of_the_end_counts_and_not_the_name_or_the_order(rig: Rig) -> None:
    matches = [over(1, ended=9), over(2, ended=8), over(3, ended=1), over(4, ended=7)]
    for match in matches:
        rig.index.kept(match)
    assert rig.surplus(*matches) == ["m3"]


def test_matches_within_the_limit_are_left_alone(rig: Rig) -> None:
    for number in range(3):
        rig.index.kept(over(number))
        rig.index.kept(over(number))  # another version of the same one
    assert rig.told == []


def test_each_namespace_has_a_limit_of_its_own(rig: Rig) -> None:
    for number in range(4):
        rig.index.kept(over(number, namespace="calls"))
    for number in range(3):
        rig.index.kept(over(number, namespace="other"))
    assert rig.told == ["calls/m0"]


def test_a_match_that_is_not_over_does_not_count(rig: Rig) -> None:
    for number in range(9):
        rig.index.kept(b.active(uid=str(number)))
    assert rig.told == []


def test_a_match_that_is_being_deleted_or_gone_makes_room(rig: Rig) -> None:
    for number in range(3):
        rig.index.kept(over(number))
    rig.index.kept(over(1, deleted=True))
    rig.index.kept(over(3))
    rig.index.gone(over(0))
    rig.index.kept(over(4))
    assert rig.told == []
    rig.index.kept(over(5))
    assert rig.told == ["calls/m2"]


def test_a_match_over_the_limit_is_reported_once_and_stays_over_it_until_it_is_gone(rig: Rig) -> None:
    first = over(0)
    for number in range(4):
        rig.index.kept(over(number))
    rig.index.kept(first)
    assert (rig.told, rig.surplus(first)) == (["calls/m0"], ["m0"])
    rig.index.gone(first)
    assert rig.surplus(first) == []


def test_matches_deleted_for_their_age_leave_nothing_behind(rig: Rig) -> None:
    for number in range(1000):
        rig.index.kept(over(number))
        rig.index.gone(over(number))
    for _ in range(1000):
        rig.index.kept(over(-1))
    for number in range(1000, 2000):
        rig.index.kept(over(number))
        rig.index.gone(over(number))
    kept = rig.index._namespaces["calls"]
    assert list(kept.kept) == ["calls--1"]
    assert len(kept.by_end) < 100


def test_the_oldest_are_still_known_after_many_others_have_come_and_gone() -> None:
    told: list[str] = []
    index, chance = FinishedMatches(50, lambda _namespace, name: told.append(name)), random.Random(1)
    ends = chance.sample(range(1000), 1000)
    for turn, end in enumerate(ends):
        index.kept(over(end))
        if turn >= 49:
            index.gone(over(end))
    for number in range(1000, 1050):
        index.kept(over(number))
    assert told == [f"m{end}" for end in sorted(ends[:49])]


def test_an_unknown_match_may_be_deleted_and_an_empty_namespace_leaves_nothing(rig: Rig) -> None:
    rig.index.gone(over(1))
    rig.index.kept(over(2))
    rig.index.gone(over(1))
    assert list(rig.index._namespaces) == ["calls"]
    rig.index.gone(over(2))
    assert rig.index._namespaces == {}
