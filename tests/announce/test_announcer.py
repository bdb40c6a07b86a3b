"""What the announcer says of actions that no status will show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from controller.announce.announcer import Announcer
from controller.announce.events import Subject
from controller.api.endings import EndReason
from controller.api.match import Match
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from controller.telemetry.trace_ids import trace_id
from tests import values as b
from tests.plan.world import only
from tests.virtual_time import VirtualTime

RELEASE = only(plan_match(MatchCase(b.active(deleted=True), b.all_gone(), b.at(9))), a.ReleaseFinalizer)
CREATE = only(plan_match(MatchCase(b.a_match(), b.seen(ledger=b.ledger()), b.at(1))), a.CreateRoom)


def finished(reason: str) -> float:
    """How many Matches were counted as over for this reason."""
    return REGISTRY.get_sample_value("roomkeeper_matches_finished_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("case", "action", "match", "reason", "counted"),
    [
        (
            "deleted in the middle",
            RELEASE,
            b.active(deleted=True, status={"phase": "Terminating", "reason": "Skipped"}),
            "Skipped",
            1,
        ),
        (
            "deleted while a backend was away",
            RELEASE,
            b.active(deleted=True, status={"reason": "BackendUnreachable"}),
            "Deleted",
            1,
        ),
        ("deleted, with no reason in the status", RELEASE, b.active(deleted=True), "Deleted", 1),
        ("over before it was deleted", RELEASE, b.active(deleted=True, status={"ended_at": b.at(8)}), "Deleted", 0),
        ("not released", CREATE, b.active(deleted=True), "Deleted", 0),
    ],
)
def test_the_end_of_a_deleted_match_is_counted_though_no_status_will_say_it(
    case: str, action: a.AnyAction, match: Match, reason: str, counted: int
) -> None:
    before = finished(reason)
    Announcer(cast("Any", Said()), VirtualTime(), cast("Any", None)).match_acted(match, (action,))
    assert finished(reason) - before == counted, case


class Said:
    """The Events that an announcer posts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def normal(self, _subject: Subject, reason: str, message: str) -> None:
        self.events.append(("Normal", reason, message))

    def warning(self, _subject: Subject, reason: str, message: str) -> None:
        self.events.append(("Warning", reason, message))


class NoErrors:
    """Takes the records of errors."""

    def failed(self, *_: Any, **__: Any) -> None: ...

    def recovered(self, *_: Any) -> None: ...


@pytest.mark.parametrize("reason", EndReason)
def test_an_ending_is_a_warning_only_where_the_service_went_wrong(reason: EndReason) -> None:
    said = Said()
    phase = "Failed" if reason is EndReason.FAILED else "Ended"
    status = b.active(
        status={"phase": phase, "reason": reason, "ended_at": b.at(9), "end": {"reason": reason, "message": "why"}}
    ).status
    Announcer(cast("Any", said), VirtualTime(), cast("Any", NoErrors())).match_written(b.active(), status, b.T0)
    expected = "Warning" if reason in {"RoomLost", "Failed"} else "Normal"
    assert said.events == [(expected, reason, "why")]


def test_a_match_that_is_deleted_in_the_middle_leaves_an_event_that_says_who_was_in_it() -> None:
    said, time = Said(), VirtualTime()
    met = time.now() - timedelta(seconds=185)
    match = b.active(deleted=True, status={"connected_at": met})
    Announcer(cast("Any", said), time, cast("Any", None)).match_acted(match, (RELEASE,))
    [(kind, reason, message)] = said.events
    assert (kind, reason) == ("Normal", "Deleted")
    assert message.endswith("the call of alice and bob ended after 3 min 5 s")


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
    Announcer(cast("Any", Said()), VirtualTime(), cast("Any", NoErrors())).match_written(before_it, status, b.T0)
    counted = {result: joined("eu-1", result) - before[result] for result in results}
    assert {result: count for result, count in counted.items() if count} == expected


def test_a_call_that_is_up_counts_two_who_joined_and_leaves_its_trace_with_the_time_it_took() -> None:
    before, now = joined("eu-2", "Connected"), b.active(status={"connected_at": None})
    status = b.active(status={"connected_at": b.at(9), "room": {"name": "room", "server": "eu-2"}}).status
    Announcer(cast("Any", Said()), VirtualTime(), cast("Any", NoErrors())).match_written(now, status, b.T0)
    assert joined("eu-2", "Connected") - before == 2
    exemplars = [
        sample.exemplar.labels
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "roomkeeper_match_connected_seconds_bucket" and sample.exemplar is not None
    ]
    assert {"trace_id": trace_id(now.metadata.uid)} in exemplars
