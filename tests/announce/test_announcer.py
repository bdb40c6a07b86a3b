"""What the announcer says of the ends of Matches, and of actions that no status will show."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controller.announce.announcer import Announcer
from controller.announce.events import Subject
from controller.api.endings import EndReason
from controller.api.failure_codes import Failure
from controller.api.match import Evidence, Match, ParticipantState
from controller.facts.ledger import LastEvent, Ledger
from controller.facts.unreadable import Unreadable
from controller.rules.match_case import MatchCase
from controller.rules.stand_in import stand_in_match
from controller.status.match import match_status
from controller.telemetry import tracing
from controller.telemetry.trace_ids import trace_id
from controller.telemetry.tracing import MatchSpan, Work
from tests import values as b
from tests.virtual_time import VirtualTime


def value(name: str, **labels: str) -> float:
    """What /metrics says."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def finished(reason: str) -> float:
    """How many Matches were counted as over for this reason."""
    return value("roomkeeper_matches_finished_total", reason=reason)


class Said:
    """The Events that an announcer posts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def normal(self, _subject: Subject, reason: str, message: str) -> None:
        self.events.append(("Normal", reason, message))

    def warning(self, _subject: Subject, reason: str, message: str) -> None:
        self.events.append(("Warning", reason, message))


class Recorded:
    """The errors that an announcer records."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def failed(self, failure: Failure, **_: Any) -> None:
        self.codes.append(failure.code)

    def recovered(self, *_: Any) -> None: ...


class Rig:
    """An announcer, and what it says."""

    def __init__(self) -> None:
        self.said, self.recorded = Said(), Recorded()
        self.announcer = Announcer(cast("Any", self.said), VirtualTime(), cast("Any", self.recorded))

    def leaves(self, match: Match, ledger: Ledger, second: float = 9) -> None:
        """The finalizer of the Match is removed at this second; all of its call is gone by then."""
        self.announcer.match_leaving(MatchCase(match, b.all_gone(ledger=ledger), b.at(second)))

    def gone(self) -> None:
        """The Match is gone."""
        self.announcer.gone(b.MATCH_UID)

    def written(self, before: Match, ledger: Ledger, second: float = 9) -> Match:
        """The status that follows is written; the Match has it then."""
        status = match_status(MatchCase(before, b.all_gone(ledger=ledger), b.at(second)), None)
        self.announcer.match_written(before, status, b.T0)
        return before.model_copy(update={"status": status})


ENDED_BY_ALICE = b.ledger("Terminating", settled="Ended", initiator="alice", message="alice ended the call")
DELETED = b.ledger("Terminating", settled="Deleted", message="the Match was deleted")


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


def test_a_word_that_a_client_wrote_into_a_status_is_no_label() -> None:
    rig, before = Rig(), finished("NetworkLost")
    end = {"reason": "NetworkLost", "message": "bob lost the connection"}
    status = b.active(status={"phase": "Ended", "reason": "free text", "ended_at": b.at(9), "end": end}).status
    rig.announcer.match_written(b.active(), status, b.T0)
    assert (finished("free text"), finished("NetworkLost")) == (0, before + 1)


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


def test_an_end_is_told_once_even_if_a_client_removes_it_from_the_status() -> None:
    rig = Rig()
    over = rig.written(b.active(deleted=True), ENDED_BY_ALICE)
    edited = over.model_copy(update={"status": over.status.model_copy(update={"ended_at": None, "conditions": ()})})
    rig.written(edited, ENDED_BY_ALICE, 20)
    rig.gone()
    assert len(rig.said.events) == 1


class BrokenTracing:
    """Tracing with a fault, and what had been posted when it was asked for the span of a Match."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self.posted: list[tuple[str, str, str]] = []

    def begin(self, _work: Work) -> Any:
        raise NotImplementedError

    def match_over(self, _match: MatchSpan) -> None:
        self.posted = list(self._said.events)
        raise RuntimeError("a fault of the library")


def test_a_fault_of_tracing_costs_no_event_and_the_span_comes_last() -> None:
    rig = Rig()
    broken = BrokenTracing(rig.said)
    tracing.switch_on(broken)
    try:
        rig.written(b.active(deleted=True), ENDED_BY_ALICE)
    finally:
        tracing.switch_on(None)
    assert [event[1] for event in rig.said.events] == ["Ended"]
    assert broken.posted == rig.said.events


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


@pytest.mark.parametrize("reason", EndReason)
def test_an_ending_is_a_warning_only_where_the_service_went_wrong(reason: EndReason) -> None:
    rig = Rig()
    phase = "Failed" if reason is EndReason.FAILED else "Ended"
    status = b.active(
        status={"phase": phase, "reason": reason, "ended_at": b.at(9), "end": {"reason": reason, "message": "why"}}
    ).status
    rig.announcer.match_written(b.active(), status, b.T0)
    expected = "Warning" if reason in {"RoomLost", "Failed"} else "Normal"
    assert rig.said.events == [(expected, reason, "why")]


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


def joined(server: str, result: str) -> float:
    """How many participants were counted with this result."""
    return REGISTRY.get_sample_value("roomkeeper_joins_total", {"server": server, "result": result}) or 0.0


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (("NeverSeen", "NeverSeen"), {"NeverSeen": 2}),
        ((None, "MediaFailed"), {"Connected": 1, "MediaFailed": 1}),
        (("CLIENT_INITIATED", "SignalOnly"), {"Connected": 1, "SignalOnly": 1}),
    ],
)
def test_who_did_not_come_is_counted_by_the_server_that_they_were_to_join(
    details: tuple[str | None, str | None], expected: dict[str, int]
) -> None:
    results = ("Connected", "NeverSeen", "MediaFailed", "SignalOnly")
    before = {result: joined("eu-1", result) for result in results}
    outcomes = [
        {"identity": who, "state": "Idle", "detail": detail}
        for who, detail in zip(("alice", "bob"), details, strict=True)
    ]
    status = b.active(
        status={
            "phase": "Ended",
            "reason": "NoShow",
            "ended_at": b.at(9),
            "connected_at": None,
            "room": {"name": "room", "server": "eu-1"},
            "end": {"reason": "NoShow", "message": "why", "outcomes": outcomes},
        }
    ).status
    before_it = b.active(status={"connected_at": None})
    Rig().announcer.match_written(before_it, status, b.T0)
    counted = {result: joined("eu-1", result) - before[result] for result in results}
    assert {result: count for result, count in counted.items() if count} == expected


def test_what_polling_saw_before_any_webhook_is_counted_by_the_server_that_sent_none() -> None:
    before, now = value("roomkeeper_webhooks_missed_total", server="eu-3"), b.active()
    alice, bob = now.status.participants
    seen = alice.model_copy(update={"state": ParticipantState.LEFT, "evidence": Evidence.POLL})
    status = b.active(status={"participants": [seen, bob], "room": {"name": "room", "server": "eu-3"}}).status
    Rig().announcer.match_written(now, status, b.T0)
    assert value("roomkeeper_webhooks_missed_total", server="eu-3") == before + 1


def test_a_call_that_is_up_counts_two_who_joined_and_leaves_its_trace_with_the_time_it_took() -> None:
    before, now = joined("eu-2", "Connected"), b.active(status={"connected_at": None})
    status = b.active(status={"connected_at": b.at(9), "room": {"name": "room", "server": "eu-2"}}).status
    Rig().announcer.match_written(now, status, b.T0)
    assert joined("eu-2", "Connected") - before == 2
    exemplars = [
        sample.exemplar.labels
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "roomkeeper_match_connected_seconds_bucket" and sample.exemplar is not None
    ]
    assert {"trace_id": trace_id(now.metadata.uid)} in exemplars


def room_error(recovery: str, message: str = "OOM") -> dict[str, Any]:
    """The last error of a Room."""
    return {"type": "Redis", "severity": "Critical", "recovery": recovery, "message": message, "at": b.at(1)}


HAS_ERROR = {"last_error": room_error("Escalate")}
LOST = {"phase": "Terminated", "reason": "Lost"}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, HAS_ERROR, [("Warning", "RedisError")]),
        (HAS_ERROR, HAS_ERROR, []),
        (HAS_ERROR, {"last_error": room_error("Escalate", "READONLY")}, [("Warning", "RedisError")]),
        ({}, {"last_error": room_error("Retry")}, []),
        ({"restores": 1}, {"restores": 2}, [("Warning", "Restored")]),
        ({"restores": 2}, {"restores": 2}, []),
        ({"phase": "Active"}, {"phase": "Terminated", "reason": "Empty"}, [("Normal", "Empty")]),
        ({"phase": "Active"}, LOST, [("Warning", "Lost")]),
        (LOST, LOST, []),
    ],
)
def test_what_a_room_tells_by_events(
    before: dict[str, Any], now: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    rig = Rig()
    rig.announcer.room_written(b.a_room(status=before), b.a_room(status=now).status, b.T0)
    assert [event[:2] for event in rig.said.events] == expected
