"""What the status of a Match says about its end, and the lines of its history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.endings import EndCode
from controller.api.match import MAX_HISTORY, Evidence, Match, TerminationAction
from controller.facts.ledger import Cause, End, Ledger, Wish
from controller.facts.match import Refusal
from controller.status.patch import merge_patch
from tests import values as b
from tests.status.looks import ALICE, BUSY, END, ENDED, condition, status_of


@pytest.mark.parametrize(
    ("outcome", "score", "expected"),
    [
        ("WAITING", b.ms(-20), ("Waiting", "Original")),
        ("WAITING", b.ms(60), ("Waiting", "Now")),
        ("IDLE", None, ("Idle", None)),
        ("LOST", None, ("Lost", None)),
    ],
)
def test_the_end_says_where_each_user_went(outcome: str, score: int | None, expected: tuple[str, str | None]) -> None:
    done = b.ledger(
        "Terminating", settled="Ended", initiator="alice", message="alice ended the call",
        queued={"alice": b.ms(-20), "bob": None}, outcomes=[b.settled_user("alice", outcome, score, "why")],
    )  # fmt: skip
    end = status_of(b.active(termination=END), b.all_gone(ledger=done)).end
    assert end is not None
    assert (end.reason, end.initiator, end.message) == ("Ended", "alice", "alice ended the call")
    (alice,) = end.outcomes
    assert (str(alice.state), alice.place and str(alice.place), alice.detail) == (*expected, "why")


def test_an_end_that_no_user_caused_has_no_initiator() -> None:
    end = status_of(b.active(), b.all_gone(ledger=b.ledger("Terminating", settled="RoomLost"))).end
    assert end is not None
    assert (end.initiator, end.outcomes) == (None, ())


def test_there_is_no_end_before_the_users_are_settled() -> None:
    assert status_of(b.active(termination=END), b.both_in()).end is None


def test_the_end_stays_as_it_was_written() -> None:
    match = b.active(status=ENDED)
    later_cause = b.all_gone(ledger=b.ledger(settled="RoomLost", message="another"))
    assert status_of(match, later_cause).end == match.status.end


def test_history_has_a_line_per_phase_and_a_sentence() -> None:
    match = b.a_match()
    for seen, seconds in ((b.seen(), 1.0), (b.seen(ledger=b.ledger()), 2.0), (b.all_made(), 3.0), (b.both_in(), 4.0)):
        match = match.model_copy(update={"status": status_of(match, seen, seconds)})
    history = match.status.history
    assert [str(entry.phase) for entry in history] == ["Pending", "Creating", "Connecting", "Active"]
    assert [entry.time for entry in history] == [b.at(1), b.at(2), b.at(3), b.at(4)]
    assert (history[0].reason, history[0].message) == ("Pending", "the users are not claimed yet")
    assert "room and tokens are being made" in (history[1].message or "")
    assert "25 s to connect" in (history[2].message or "")
    assert "alice (poll), bob (poll)" in (history[3].message or "")


def test_history_keeps_the_latest_sixteen() -> None:
    match = b.active()
    for turn in range(40):
        seen = b.both_in(4 + turn, people=ALICE) if turn % 2 == 0 else b.both_in(4 + turn)
        match = match.model_copy(update={"status": status_of(match, seen, 4 + turn)})
    history = match.status.history
    assert len(history) == MAX_HISTORY
    assert history[-1].time == b.at(43)
    assert [str(entry.phase) for entry in history[-2:]] == ["Reconnecting", "Active"]


def test_history_says_why_it_ends() -> None:
    entry = status_of(b.active(termination=END), b.both_in(), 9).history[-1]
    assert (str(entry.phase), entry.reason, entry.message) == ("Terminating", "Ended", "alice ended the call")


def test_history_says_who_dropped_and_who_saw_it() -> None:
    status = status_of(b.active(), b.both_in(9, people=ALICE))
    assert "bob: not listed any more, seen by poll" in (status.history[-1].message or "")
    assert status.history[-1].reason == "ConnectionLost"


@pytest.mark.parametrize(
    ("reason", "refusal"), [("UserBusy", BUSY), ("UserBlocked", Refusal(EndCode.USER_BLOCKED, "bob"))]
)
def test_a_settled_match_still_says_why_it_was_not_accepted(reason: str, refusal: Refusal) -> None:
    waiting = b.a_match()
    told = waiting.model_copy(update={"status": status_of(waiting, b.seen(refusal=refusal), 1)})
    evidence = f'{{"code": "{reason}", "subject": []}}'
    closed = b.ledger("", claimed=False, settled="Failed", message="why", evidence=evidence)
    over = status_of(told, b.seen(ledger=closed, refusal=refusal), 2)
    assert condition(over, "Accepted")[:2] == ("False", reason)
    assert "which is ending" not in condition(over, "Accepted")[2]
    assert over.reason == reason


def test_a_match_that_is_over_says_the_same_when_it_is_looked_at_again() -> None:
    match = b.active(termination=END)
    ended = status_of(match, b.all_gone(people=b.both_in().people), 60)
    assert [(p.state, p.detail) for p in ended.participants] == [("Left", "the call was over")] * 2
    match = match.model_copy(update={"status": ended})
    # Its ledger is not read any more.
    again = status_of(match, b.seen(61), 61)
    assert merge_patch(ended.manifest(), again.manifest()) == {}


def test_a_match_that_ended_at_once_still_says_since_when_it_was_terminating() -> None:
    ended = status_of(b.active(termination=END), b.all_gone(people=b.both_in().people), 60)
    assert [(step.phase, step.time) for step in ended.history] == [("Terminating", b.at(5)), ("Ended", b.at(60))]


def test_both_lines_of_an_end_at_once_say_why() -> None:
    settled = b.ledger("Terminating", settled="Ended", initiator="alice", message="alice ended the call")
    ended = status_of(b.active(), b.all_gone(ledger=settled), 60)
    assert [(step.reason, step.message) for step in ended.history] == [("Ended", "alice ended the call")] * 2


@pytest.mark.parametrize(
    ("match", "settled", "phases"),
    [
        (b.a_match(status={"phase": "Pending"}), "Failed", ["Failed"]),
        (b.a_match(), "Ended", ["Ended"]),
        (b.active(status={"phase": "Terminating"}), "Ended", ["Ended"]),
    ],
    ids=["undone", "never seen before", "seen while it was"],
)
def test_the_history_shows_terminating_only_if_the_match_passed_through_it_unseen(
    match: Match, settled: str, phases: list[str]
) -> None:
    over = status_of(match, b.all_gone(ledger=b.ledger("", settled=settled)), 60)
    assert [step.phase for step in over.history] == phases


def test_history_says_that_a_participant_on_the_way_back_has_left() -> None:
    people = (*ALICE, b.person("bob", state="JOINED"))
    assert status_of(b.active(), b.both_in(9, people=people), 9).history[-1].message == "bob: left, seen by poll"


def test_a_participant_who_left_before_the_end_stays_as_they_left() -> None:
    ledger = b.ledger(
        "Terminating", settled="Ended", last={"bob": b.event("left", 9, sid="PA_bob", reason="SIGNAL_CLOSE")}
    )
    over = status_of(b.active(), b.all_gone(ledger=ledger, people=ALICE), 60)
    assert [(p.state, p.detail, p.since) for p in over.participants] == [
        ("Left", "the call was over", b.at(60)),
        ("Left", "SIGNAL_CLOSE", b.at(9)),
    ]


def test_an_outcome_about_which_there_is_nothing_to_say_has_no_detail() -> None:
    done = b.ledger("Terminating", settled="Ended", outcomes=[b.settled_user("bob", "IDLE")])
    end = status_of(b.active(), b.all_gone(ledger=done)).end
    assert end is not None
    assert [(outcome.identity, outcome.detail) for outcome in end.outcomes] == [("bob", None)]


WISH = Wish(TerminationAction.SKIP, "bob", via="signal", at_ms=b.ms(4))


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        (replace(b.ledger("Active"), wish=WISH), {"alice": "webhook", "bob": "signal"}),
        (replace(b.ledger("Active"), wish=replace(WISH, via="skip-in-progress")), {"alice": "webhook", "bob": "flag"}),
        (
            b.ledger("Active", recorded="NetworkLost", evidence='{"code": "HeartbeatsStopped", "subject": ["alice"]}'),
            {"alice": "heartbeat", "bob": "webhook"},
        ),
        (
            b.ledger("Active", recorded="Disconnected", evidence='{"code": "UserTakenAway", "subject": ["bob"]}'),
            {"alice": "webhook", "bob": "userState"},
        ),
        (
            b.ledger("Active", recorded="Left", evidence='{"code": "Left", "subject": ["bob"]}'),
            {"alice": "webhook", "bob": "webhook"},
        ),
    ],
)
def test_the_end_names_the_reporter_and_the_participant_who_caused_it_and_stays_so(
    ledger: Ledger, expected: dict[str, str]
) -> None:
    people = [person.model_copy(update={"evidence": Evidence.WEBHOOK}) for person in b.active().status.participants]
    match = b.active(status={"participants": people})
    told = status_of(match, b.both_in(ledger=ledger))
    assert {person.identity: person.evidence for person in told.participants} == expected
    skipped = End(Cause("Skipped", evidence='{"code": "Skipped", "subject": ["bob"]}'), b.ms(5))
    over = replace(ledger, settled=True, end=ledger.end or skipped)
    match = match.model_copy(update={"status": told})
    ended = status_of(match, b.all_gone(ledger=over, people=b.unknown()), 60)
    assert {person.identity: person.evidence for person in ended.participants} == expected
    match = match.model_copy(update={"status": ended})
    assert status_of(match, b.all_gone(ledger=None), 70).manifest() == ended.manifest()
