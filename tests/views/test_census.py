"""The phases that the metrics count, and the oldest object of each."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import REGISTRY

from controller.api.match import Match
from controller.api.names import MATCH
from controller.views.census import Census, Since
from tests import values as b


def shown(census: Census, second: float, phase: str) -> tuple[float | None, float | None]:
    """How many Matches are in this phase, and how long the oldest is, as /metrics says it at this second."""
    census.show(b.at(second))
    labels = {"kind": "Match", "phase": phase}
    names = ("roomkeeper_objects", "roomkeeper_oldest_object_seconds")
    count, oldest = (REGISTRY.get_sample_value(name, labels) for name in names)
    return count, oldest


def entered(name: str, phase: str, second: float, *, deleted: bool = False) -> Match:
    """A Match that entered this phase at this second."""
    history = ({"phase": phase, "time": b.at(second)},)
    return b.a_match(name=name, uid=f"uid-{name}", deleted=deleted, status={"phase": phase, "history": history})


def test_a_match_counts_in_the_phase_that_it_is_in_and_in_no_other() -> None:
    census = Census(MATCH)
    census.kept(entered("a", "Active", 10))
    census.kept(entered("b", "Active", 20))
    assert shown(census, 30, "Active") == (2, 20)
    census.kept(entered("a", "Ended", 40))
    assert shown(census, 50, "Active") == (1, 30)
    assert shown(census, 50, "Ended") == (1, 10)
    assert shown(census, 50, "Pending") == (0, 0)


def test_a_deleted_match_is_in_no_phase_and_waits_no_longer_for_its_finalizer() -> None:
    census = Census(MATCH)
    match = entered("a", "Active", 10, deleted=True)
    census.kept(match)
    census.show(b.at(30))
    assert REGISTRY.get_sample_value("roomkeeper_objects_being_deleted", {"kind": "Match"}) == 1
    census.gone(match)
    assert shown(census, 30, "Active") == (0, 0)
    assert REGISTRY.get_sample_value("roomkeeper_objects_being_deleted", {"kind": "Match"}) == 0
    assert REGISTRY.get_sample_value("roomkeeper_oldest_deletion_seconds", {"kind": "Match"}) == 0


def test_the_oldest_is_right_after_thousands_have_come_and_gone() -> None:
    since = Since()
    since.add("stays", b.at(1))
    for number in range(5_000):
        since.add(f"m{number}", b.at(2) + timedelta(milliseconds=number))
        since.discard(f"m{number - 10}")
    assert since.oldest() == b.at(1)
    since.discard("stays")
    assert since.oldest() == b.at(2) + timedelta(milliseconds=4_990)
    assert len(since) == 10
    assert len(since._by_age) < 100
