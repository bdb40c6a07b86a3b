"""Which Matches that are over are more than a namespace keeps."""

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


class Bench:
    """An index that keeps three, and what it told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.index = FinishedMatches(3, lambda namespace, name: self.told.append(f"{namespace}/{name}"))

    def surplus(self, *matches: Match) -> list[str]:
        """Those of these that are too many."""
        return [match.metadata.name for match in matches if self.index.is_over_limit(match.metadata.uid)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_oldest_beyond_the_limit_are_surplus_in_whatever_order_they_come(bench: Bench) -> None:
    matches = [over(number) for number in range(50)]
    shuffled = random.Random(1).sample(matches, len(matches))
    for match in shuffled:
        bench.index.kept(match)
    assert bench.surplus(*matches) == [f"m{number}" for number in range(47)]
    assert sorted(bench.told) == sorted(f"calls/m{number}" for number in range(47))


def test_the_end_counts_and_not_the_name_or_the_order(bench: Bench) -> None:
    matches = [over(1, ended=9), over(2, ended=8), over(3, ended=1), over(4, ended=7)]
    for match in matches:
        bench.index.kept(match)
    assert bench.surplus(*matches) == ["m3"]


def test_as_many_as_are_kept_are_left_alone(bench: Bench) -> None:
    for number in range(3):
        bench.index.kept(over(number))
        bench.index.kept(over(number))  # another version of the same one
    assert bench.told == []


def test_each_namespace_counts_for_itself(bench: Bench) -> None:
    for number in range(4):
        bench.index.kept(over(number, namespace="calls"))
    for number in range(3):
        bench.index.kept(over(number, namespace="other"))
    assert bench.told == ["calls/m0"]


def test_what_goes_on_does_not_count(bench: Bench) -> None:
    for number in range(9):
        bench.index.kept(b.active(uid=str(number)))
    assert bench.told == []


def test_what_is_being_deleted_or_gone_makes_room(bench: Bench) -> None:
    for number in range(3):
        bench.index.kept(over(number))
    bench.index.kept(over(1, deleted=True))
    bench.index.kept(over(3))
    bench.index.gone(over(0))
    bench.index.kept(over(4))
    assert bench.told == []
    bench.index.kept(over(5))
    assert bench.told == ["calls/m2"]


def test_surplus_is_told_once_and_stays_so_until_it_is_gone(bench: Bench) -> None:
    first = over(0)
    for number in range(4):
        bench.index.kept(over(number))
    bench.index.kept(first)
    assert (bench.told, bench.surplus(first)) == (["calls/m0"], ["m0"])
    bench.index.gone(first)
    assert bench.surplus(first) == []


def test_what_was_deleted_for_its_age_leaves_nothing_behind(bench: Bench) -> None:
    for number in range(1000):
        bench.index.kept(over(number))
        bench.index.gone(over(number))
    for _ in range(1000):
        bench.index.kept(over(-1))
    for number in range(1000, 2000):
        bench.index.kept(over(number))
        bench.index.gone(over(number))
    kept = bench.index._namespaces["calls"]
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


def test_what_never_was_kept_may_go_and_an_empty_namespace_leaves_nothing(bench: Bench) -> None:
    bench.index.gone(over(1))
    bench.index.kept(over(2))
    bench.index.gone(over(1))
    assert list(bench.index._namespaces) == ["calls"]
    bench.index.gone(over(2))
    assert bench.index._namespaces == {}
