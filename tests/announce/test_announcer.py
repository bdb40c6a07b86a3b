"""What the announcer says of a status that was written: of ends, of those who came or did not, and of Rooms."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from controller.api.endings import EndReason
from controller.api.match import Evidence, ParticipantState
from controller.telemetry import tracing
from controller.telemetry.trace_ids import trace_id
from controller.telemetry.tracing import MatchSpan, Work
from tests import values as b
from tests.announce.announcing import ENDED_BY_ALICE, Rig, Said, finished, value


def test_a_word_that_a_client_wrote_into_a_status_is_no_label() -> None:
    rig, before = Rig(), finished("NetworkLost")
    end = {"reason": "NetworkLost", "message": "bob lost the connection"}
    status = b.active(status={"phase": "Ended", "reason": "free text", "ended_at": b.at(9), "end": end}).status
    rig.announcer.match_written(b.active(), status, b.T0)
    assert (finished("free text"), finished("NetworkLost")) == (0, before + 1)


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
