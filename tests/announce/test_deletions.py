"""A Match that is deleted before a status says its end: the end is told all the same, and once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controller.facts.ledger import LastEvent, Ledger
from controller.facts.unreadable import Unreadable
from controller.rules.stand_in import stand_in_match
from tests import values as b
from tests.announce.announcing import DELETED, ENDED_BY_ALICE, Rig, finished, value


@pytest.mark.parametrize(
    ("written", "ledger", "reason"),
    [
        ({"phase": "Active"}, ENDED_BY_ALICE, "Ended"),
        ({"phase": "Terminating", "reason": "Paused"}, ENDED_BY_ALICE, "Ended"),
        ({"phase": "Terminating", "reason": "what a client wrote"}, ENDED_BY_ALICE, "Ended"),
        ({"phase": "Active", "reason": "BackendUnreachable"}, DELETED, "Deleted"),
        ({"phase": "Terminating", "reason": "Skipped"}, DELETED, "Deleted"),
    ],
)
def test_a_deleted_match_counts_for_the_cause_of_its_end_whatever_was_written_last(
    written: dict[str, Any], ledger: Ledger, reason: str
) -> None:
    rig, before = Rig(), finished(reason)
    rig.leaves(b.active(deleted=True, status=written), ledger)
    with capture_logs() as lines:
        rig.gone()
    assert finished(reason) == before + 1
    assert [line["reason"] for line in lines] == [reason]
    assert [event[1] for event in rig.said.events] == [reason]
    names = {
        sample.labels["reason"] for one in REGISTRY.collect() for sample in one.samples if "reason" in sample.labels
    }
    assert not names & {"Paused", "what a client wrote", "BackendUnreachable"}


def test_a_deleted_match_that_another_finalizer_keeps_is_told_once() -> None:
    """As where it is deleted in the foreground: its status says the end, and some time later it is gone."""
    rig, before = Rig(), finished("Deleted")
    match = b.active(deleted=True)
    with capture_logs() as lines:
        rig.leaves(match, DELETED)
        kept = match.metadata.model_copy(update={"finalizers": ("foregroundDeletion",)})
        rig.written(match.model_copy(update={"metadata": kept}), DELETED)
        rig.gone()
    assert finished("Deleted") == before + 1
    assert [line["event"] for line in lines].count("match is over") == 1
    assert rig.said.events == [("Normal", "Deleted", "the Match was deleted")]


def test_a_deleted_match_that_stays_is_not_told_before_it_is_gone() -> None:
    rig = Rig()
    rig.leaves(b.active(deleted=True), DELETED)
    assert rig.said.events == []
    rig.gone()
    rig.gone()
    assert len(rig.said.events) == 1


def test_a_match_that_was_over_before_it_was_deleted_is_not_told_again() -> None:
    rig = Rig()
    rig.leaves(b.active(deleted=True, status={"ended_at": b.at(8)}), ENDED_BY_ALICE)
    rig.gone()
    assert rig.said.events == []


@pytest.mark.parametrize(("settled", "events"), [(0.5, 0), (5, 1)])
def test_an_unreadable_match_that_was_over_before_it_was_deleted_is_not_told_again(settled: float, events: int) -> None:
    found = Unreadable(b.active(deleted=True).metadata, "spec: it cannot be read")  # deleted at second 1
    ledger = replace(ENDED_BY_ALICE, settled_at_ms=b.ms(settled))
    rig = Rig()
    rig.leaves(stand_in_match(found, ledger), ledger)
    rig.gone()
    assert len(rig.said.events) == events


def test_a_call_that_ends_by_a_deletion_has_a_length_as_every_other() -> None:
    name = "roomkeeper_call_duration_seconds"
    rig, before = Rig(), (value(f"{name}_count"), value(f"{name}_sum"))
    met = b.at(9) - timedelta(seconds=185)
    rig.leaves(b.active(deleted=True, status={"connected_at": met}), DELETED)
    rig.gone()
    assert (value(f"{name}_count"), value(f"{name}_sum")) == (before[0] + 1, before[1] + 185)
    assert rig.said.events == [
        ("Normal", "Deleted", "the Match was deleted; the call of alice and bob ended after 3 min 5 s")
    ]


JOINED, LEFT, ABORTED = "participant_joined", "participant_left", "participant_connection_aborted"


def event(name: str, *, came: float, at: float) -> LastEvent:
    """The last event about a participant who came at one second; the event is of another."""
    return LastEvent(name, "", "PA_x", b.ms(at), b.ms(came))


@pytest.mark.parametrize("is_readable", [True, False])
@pytest.mark.parametrize(
    ("alice", "bob", "told"),
    [
        (event(JOINED, came=3, at=4), event(JOINED, came=5, at=6), "the call of alice and bob ended after 3 s"),
        (event(LEFT, came=3, at=8), event(JOINED, came=5, at=6), "the call of alice and bob ended after 3 s"),
        (event(LEFT, came=3, at=8), event(LEFT, came=5, at=7), "the call of alice and bob ended after 4 s"),
        (event(LEFT, came=3, at=4), event(JOINED, came=5, at=6), "no call of alice and bob was seen"),
        (event(JOINED, came=3, at=4), event(ABORTED, came=5, at=6), "no call of alice and bob was seen"),
        (event(JOINED, came=3, at=4), event(LEFT, came=-b.T0.timestamp(), at=6), "no call of alice and bob was seen"),
        (event(JOINED, came=3, at=4), None, "no call of alice and bob was seen"),
    ],
)
def test_a_call_that_began_and_was_deleted_before_its_status_said_so_is_told_as_a_call(
    alice: LastEvent, bob: LastEvent | None, told: str, is_readable: bool
) -> None:
    """By then the ledger says Terminating; LiveKit's last event about each user tells that both were in the room."""
    rig, match = Rig(), b.connecting(deleted=True)
    ledger = replace(DELETED, last={"alice": alice} | ({"bob": bob} if bob is not None else {}))
    rig.leaves(match if is_readable else stand_in_match(Unreadable(match.metadata, "?"), ledger), ledger)
    rig.gone()
    assert rig.said.events == [("Normal", "Deleted", f"the Match was deleted; {told}")]


def test_a_lost_room_is_a_warning_also_if_the_match_is_deleted_at_once() -> None:
    rig = Rig()
    rig.leaves(b.active(deleted=True), b.ledger("Terminating", settled="RoomLost", message="the room was lost"))
    rig.gone()
    [(kind, reason, message)] = rig.said.events
    assert (kind, reason) == ("Warning", "RoomLost")
    assert message.startswith("the room was lost; the call of alice and bob ended after")


def test_who_did_not_come_and_what_failed_is_counted_also_if_the_match_is_deleted_at_once() -> None:
    rig, before = Rig(), value("roomkeeper_no_shows_total", detail="NeverSeen")
    outcomes = (b.settled_user("alice"), b.settled_user("bob", "IDLE", detail="NeverSeen"))
    absent = b.ledger("Terminating", settled="NoShow", message="bob did not join within 30 s", outcomes=outcomes)
    rig.leaves(b.connecting(deleted=True), absent)
    rig.gone()
    assert value("roomkeeper_no_shows_total", detail="NeverSeen") == before + 1
    assert rig.said.events[0][2] == "bob did not join within 30 s; no call of alice and bob was seen"

    evidence = '{"code": "TooLate", "subject": []}'
    late = b.ledger(claimed=False, settled="Failed", message="it was not Ready in time", evidence=evidence)
    rig.leaves(b.a_match(deleted=True, uid="late"), late)
    rig.announcer.gone("late")
    assert rig.recorded.codes == ["TooLate"]
    assert rig.said.events[1][:2] == ("Warning", "TooLate")


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    lengths, joins = "roomkeeper_call_duration_seconds_sum", "roomkeeper_match_connected_seconds_sum"
    rig, before = Rig(), (value(lengths), value(joins))
    with capture_logs() as lines:
        rig.leaves(b.active(deleted=True, status={"connected_at": b.at(500)}), DELETED)
        rig.gone()
    assert lines[0]["duration_seconds"] == 0
    status = b.active(status={"ready_at": b.at(5), "connected_at": b.at(3)}).status
    rig.announcer.match_written(b.connecting(status={"connected_at": None}), status, b.T0)
    assert (value(lengths), value(joins)) == before


def test_a_span_that_cannot_be_sent_costs_neither_the_event_nor_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("the exporter is broken")

    monkeypatch.setattr("controller.announce.announcer.trace_end", fails)
    rig = Rig()
    evidence = '{"code": "TooLate", "subject": []}'
    late = b.ledger(claimed=False, settled="Failed", message="it was not Ready in time", evidence=evidence)
    rig.leaves(b.a_match(deleted=True), late)
    with pytest.raises(RuntimeError):
        rig.gone()
    assert [(kind, reason) for kind, reason, _ in rig.said.events] == [("Warning", "TooLate")]
    assert rig.recorded.codes == ["TooLate"]
