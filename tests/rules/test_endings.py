"""The causes in the ledger and the status, their words, and the table of endings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.endings import ENDINGS, EndCode, EndReason, Subject
from controller.api.match import Match
from controller.facts.ledger import Destination
from controller.facts.match import MatchSeen
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.end_cause import EndCause
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b
from tests.plan.world import only
from tests.rules.looks import ALICE, BOB_RECONNECTS, BUSY, bob_is_gone, settle_after, wish


@pytest.mark.parametrize("evidence", ["", "no JSON", "[]", "{}", '{"code": "X"}', '{"code": "X", "subject": null}'])
def test_a_cause_whose_evidence_cannot_be_read_counts_all_the_same(evidence: str) -> None:
    stored = b.both_in(ledger=b.ledger("Terminating", recorded="Ended", initiator="alice", evidence=evidence))
    cause = MatchCase(b.active(), stored, b.at(9)).cause
    assert cause is not None
    assert (cause.reason, cause.subject) == (EndReason.ENDED, frozenset({"alice"}))


@pytest.mark.parametrize("message", ["", "moved to another planet"])
def test_a_stored_reason_of_another_version_counts_as_an_end_and_is_kept(message: str) -> None:
    evidence = '{"code": "Teleported", "subject": ["bob"], "outcomes": [["alice", "WAITING", "ORIG", ""], '
    evidence += '["bob", "IDLE", "NOW", "beamed"]]}'
    stored = b.ledger("Terminating", recorded="Teleported", message=message, evidence=evidence)
    match = b.active(termination={"action": "Skip", "initiator": "alice"})
    case = MatchCase(match, b.both_in(ledger=stored), b.at(9))
    settle = only(plan_match(case), a.Settle)
    assert [(one.id, one.to, one.detail) for one in settle.releases] == [
        ("alice", Destination.WAITING, ""),
        ("bob", Destination.IDLE, "beamed"),
    ]
    status = match_status(case, None)
    assert (status.phase, status.reason) == ("Terminating", "Ended")
    over = MatchCase(match, b.all_gone(ledger=replace(stored, settled=True)), b.at(60))
    end = match_status(over, None).end
    assert end is not None
    assert (end.reason, end.message) == (EndReason.ENDED, message or "the match ended (Teleported)")


def test_an_end_that_only_the_status_remembers_counts_with_its_code() -> None:
    bare = b.active(status={"end": {"reason": "RoomLost"}})
    coded = b.active(status={"end": {"reason": "Failed", "message": "why"}, "reason": "UserBusy"})
    assert MatchCase(bare, b.seen(), b.at(9)).cause == EndCause(EndReason.ROOM_LOST, EndReason.ROOM_LOST, "")
    assert MatchCase(coded, b.seen(), b.at(9)).cause == EndCause(
        EndReason.FAILED, EndCode.USER_BUSY, "why", is_rollback=True
    )


def test_too_late_names_the_error_that_prevented_it() -> None:
    error = {"type": "Redis", "severity": "Medium", "recovery": "Retry", "message": "Redis: no answer", "at": b.at(2)}
    cause = MatchCase(b.a_match(status={"last_error": error}), b.seen(30), b.at(30)).cause
    assert cause is not None
    assert "(Redis: no answer)" in cause.message


def test_disconnect_leaves_out_the_target_and_names_who_wanted_it() -> None:
    match = b.active(termination={"action": "Disconnect", "initiator": "moderator", "target": "bob"})
    settle = settle_after(match, only(plan_match(MatchCase(match, b.both_in(), b.at(9))), a.RecordEnd))
    assert settle.initiator == "moderator"
    assert [(o.id, o.to) for o in settle.releases] == [("alice", "WAITING"), ("bob", "IDLE")]


@pytest.mark.parametrize("reason", EndReason)
def test_every_ending_has_a_sentence_without_gaps(reason: EndReason) -> None:
    sentence = ENDINGS[reason].sentence(who="alice", seconds=2.5, detail="details")
    assert "{" not in sentence
    assert sentence.endswith(": details")


def test_a_sentence_says_a_participant_where_the_name_is_not_known() -> None:
    assert ENDINGS[EndReason.DISCONNECTED].sentence() == "a participant was disconnected"


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([("Ready", "UserBusy"), ("Accepted", "UserBusy")], "(Accepted for UserBusy)"),
        ([("Ready", "UserBusy"), ("Accepted", "NotClaimed")], "(the operator did not get to it in time)"),
    ],
)
def test_too_late_names_the_holder_that_an_earlier_status_has_reported(
    conditions: list[tuple[str, str]], words: str
) -> None:
    known = [
        {"type": type_, "status": "False", "reason": reason, "message": f"{type_} for {reason}"}
        for type_, reason in conditions
    ]
    stamped = [{**condition, "last_transition_time": b.at(2)} for condition in known]
    cause = MatchCase(b.a_match(status={"conditions": stamped}), b.seen(30), b.at(30)).cause
    assert cause is not None
    assert words in cause.message


# The subject of each ending in the table, and a case of it: alice causes the ending, or bob is missing.
SUBJECTS: dict[EndReason, tuple[Subject, Match, MatchSeen, float]] = {
    EndReason.SKIPPED: (
        Subject.INITIATOR, b.active(termination=wish("Skip", initiator="alice")), b.both_in(), 9,
    ),
    EndReason.ENDED: (Subject.INITIATOR, b.active(termination=wish("End", initiator="alice")), b.both_in(), 9),
    EndReason.DISCONNECTED: (
        Subject.TARGET, b.active(termination=wish("Disconnect", initiator="alice", target="bob")), b.both_in(), 9,
    ),
    EndReason.LEFT: (Subject.LEAVER, BOB_RECONNECTS, bob_is_gone(71), 71),
    EndReason.NETWORK_LOST: (Subject.LOST, BOB_RECONNECTS, bob_is_gone(9, silent=True), 9),
    EndReason.NO_SHOW: (Subject.ABSENT, b.connecting(), b.all_made(26, people=ALICE), 26),
    EndReason.ABANDONED: (
        Subject.ABSENT, b.active(timeouts={"soloSeconds": 20}), bob_is_gone(31, alone=True), 31,
    ),
    EndReason.MAX_DURATION: (Subject.NONE, b.active(), b.both_in(7203), 7203),
    EndReason.DELETED: (Subject.NONE, b.active(deleted=True), b.both_in(), 9),
    EndReason.ROOM_LOST: (Subject.NONE, b.active(), b.both_in(room=None), 9),
    EndReason.FAILED: (Subject.NONE, b.a_match(), b.seen(refusal=BUSY), 1),
}  # fmt: skip


@pytest.mark.parametrize("reason", SUBJECTS)
def test_the_subject_of_an_ending_is_the_one_in_the_table(reason: EndReason) -> None:
    subject, match, seen, seconds = SUBJECTS[reason]
    cause = MatchCase(match, seen, b.at(seconds)).cause
    assert cause is not None
    assert (cause.reason, ENDINGS[reason].subject) == (reason, subject)
    who = {Subject.NONE: set(), Subject.INITIATOR: {"alice"}}.get(subject, {"bob"})
    assert cause.subject == who


def test_each_participant_gets_the_message_for_them() -> None:
    told = {reason.value: ending.own_notice for reason, ending in ENDINGS.items() if ending.own_notice}
    assert told == {
        "Left": "You left the call.",
        "NoShow": "You did not join in time.",
        "NetworkLost": "Your connection was lost.",
        "Abandoned": "You were away for too long.",
    }


def test_a_match_whose_attributes_livekit_would_refuse_is_not_made() -> None:
    """An older CRD lets it in."""
    people = [{"identity": "alice"}, {"identity": "bob", "attributes": {f"{n:08}": "👩" * 1024 for n in range(16)}}]
    found = MatchCase(b.a_match(participants=people), b.seen(), b.at(1)).cause
    assert found is not None
    assert (found.code, found.is_rollback) == (EndCode.ATTRIBUTES_TOO_LARGE, True)
    assert "the attributes of bob are 65664 bytes in total" in found.message
    assert MatchCase(b.a_match(), b.seen(), b.at(1)).cause is None
