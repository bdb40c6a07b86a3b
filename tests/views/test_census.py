"""The phases that the metrics count, and the oldest object of each."""

from __future__ import annotations

from datetime import datetime, timedelta

from prometheus_client import REGISTRY

from controller.api.match import Match
from controller.api.names import MATCH, PAUSED, ROOM
from controller.views.census import Census, Since
from tests import values as b


def shown(census: Census, second: float, phase: str) -> tuple[float | None, float | None]:
    """How many Matches are in this phase, and how long the oldest is, as /metrics says it at this second."""
    census.show(b.at(second))
    labels = {"kind": "Match", "phase": phase}
    names = ("roomkeeper_objects", "roomkeeper_oldest_object_seconds")
    count, oldest = (REGISTRY.get_sample_value(name, labels) for name in names)
    return count, oldest


def oldest(kind: str, phase: str, census: Census, now: datetime) -> float | None:
    """How long the oldest object has been in this phase, as /metrics says it."""
    census.show(now)
    return REGISTRY.get_sample_value("roomkeeper_oldest_object_seconds", {"kind": kind, "phase": phase})


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


def test_a_room_is_as_old_as_its_phase_and_not_as_its_call() -> None:
    """An hour after it was made, a Room is closed within a second: that is no Room that stays Terminating."""
    census, now = Census(ROOM), b.at(3600)
    ready = {"type": "Ready", "status": "False", "reason": "Deleted", "message": "", "last_transition_time": b.at(3599)}
    census.kept(b.an_active_room(status={"phase": "Active", "created_at": b.at(10), "restored_at": [b.at(1800)]}))
    assert oldest("Room", "Active", census, now) == 1800
    census.kept(b.an_active_room(status={"phase": "Terminating", "conditions": [ready]}))
    assert (oldest("Room", "Active", census, now), oldest("Room", "Terminating", census, now)) == (0, 1)
    census.kept(b.an_active_room(status={"phase": "Terminated", "terminated_at": b.at(3590)}))
    assert oldest("Room", "Terminated", census, now) == 10


def test_a_paused_object_counts_in_its_phase_and_makes_it_no_older() -> None:
    census = Census(MATCH)
    match = entered("a", "Terminating", 10)
    paused = match.metadata.model_copy(update={"annotations": {PAUSED: "true"}})
    census.kept(match.model_copy(update={"metadata": paused}))
    assert shown(census, 900, "Terminating") == (1, 0)
    assert REGISTRY.get_sample_value("roomkeeper_objects_paused", {"kind": "Match"}) == 1
    census.kept(match)
    assert shown(census, 900, "Terminating") == (1, 890)
    assert REGISTRY.get_sample_value("roomkeeper_objects_paused", {"kind": "Match"}) == 0


def test_a_room_of_a_paused_match_is_paused_too() -> None:
    census = Census(ROOM)
    told = {"type": "Paused", "status": "True", "reason": "Paused", "message": "", "last_transition_time": b.at(5)}
    room = b.an_active_room(status={"phase": "Terminating", "conditions": [told]})
    census.kept(room)
    assert oldest("Room", "Terminating", census, b.at(3600)) == 0
    census.gone(room)
    census.show(b.at(3600))
    assert REGISTRY.get_sample_value("roomkeeper_objects_paused", {"kind": "Room"}) == 0


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
