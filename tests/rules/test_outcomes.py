"""Where the users of a Match go after each ending: who is requeued, at which place, and when that is decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.endings import ENDINGS, EndCode, EndReason, RequeuePolicy, Rollback
from controller.api.match import Match, QueuePlace
from controller.facts.ledger import Destination, Release
from controller.facts.match import MatchSeen
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.end_cause import EndCause
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import only
from tests.rules.looks import ALICE, ending, settle_after


@pytest.mark.parametrize("reason", EndReason)
@pytest.mark.parametrize("ready", [False, True])
def test_rollback_follows_the_table_of_endings(reason: EndReason, ready: bool) -> None:
    match = b.connecting() if ready else b.a_match()
    recorded = b.seen(ledger=b.ledger("Terminating", settled=reason.value))
    cause = MatchCase(match, recorded, b.at(2)).cause
    assert cause is not None
    rule = ENDINGS[reason].rollback
    assert cause.is_rollback is (rule is Rollback.ALWAYS or (rule is Rollback.BEFORE_READY and not ready))


@pytest.mark.parametrize("reason", EndReason)
def test_a_rollback_puts_all_users_where_they_were_whatever_the_policy(reason: EndReason) -> None:
    match = b.active(requeue={ENDINGS[reason].requeue_field: "None"})
    result = b.releases(match, b.both_in(), ending(reason, "alice", rollback=True))
    assert result == tuple(Release(identity, Destination.BACK, QueuePlace.ORIGINAL) for identity in b.PEOPLE)


@pytest.mark.parametrize("policy", RequeuePolicy)
@pytest.mark.parametrize("reason", EndReason)
def test_the_policy_decides_which_users_are_requeued(reason: EndReason, policy: RequeuePolicy) -> None:
    # alice is the subject and not in the room any more; bob is in it.
    match = b.active(requeue={ENDINGS[reason].requeue_field: policy})
    seen = b.both_in(people=(b.person("bob"),))
    expected = {
        RequeuePolicy.ALL: ["WAITING", "WAITING"],
        RequeuePolicy.OTHERS: ["IDLE", "WAITING"],
        RequeuePolicy.PRESENT: ["IDLE", "WAITING"],
        RequeuePolicy.NONE: ["IDLE", "IDLE"],
    }[policy]
    assert [outcome.to for outcome in b.releases(match, seen, ending(reason, "alice"))] == expected


@pytest.mark.parametrize("reason", EndReason)
def test_without_an_override_the_table_of_endings_decides(reason: EndReason) -> None:
    default = [o.to for o in b.releases(b.active(), b.both_in(), ending(reason, "alice"))]
    explicit = b.active(requeue={ENDINGS[reason].requeue_field: ENDINGS[reason].requeue})
    assert default == [o.to for o in b.releases(explicit, b.both_in(), ending(reason, "alice"))]


@pytest.mark.parametrize("reason", EndReason)
def test_an_override_counts_for_its_own_reason_alone(reason: EndReason) -> None:
    other = next(r for r in EndReason if r is not reason)
    match = b.active(requeue={ENDINGS[other].requeue_field: "None"})
    assert b.releases(match, b.both_in(), ending(reason)) == b.releases(b.active(), b.both_in(), ending(reason))


@pytest.mark.parametrize(
    ("case", "match", "seen", "cause", "places"),
    [
        ("both had a call: at the end", b.active(), b.both_in(), ending(EndReason.SKIPPED, "alice"), ["Now", "Now"]),
        (
            "no participant was ever in: the old place, except for the one who skips",
            b.connecting(),
            b.all_made(),
            ending(EndReason.SKIPPED, "alice"),
            ["Now", "Original"],
        ),
        (
            "one was in: at the end, the other keeps the place",
            b.connecting(),
            b.all_made(people=ALICE),
            ending(EndReason.DELETED),
            ["Now", "Original"],
        ),
        (
            "was in once and is gone: at the end",
            b.active(),
            b.both_in(people=()),
            ending(EndReason.ROOM_LOST),
            ["Now", "Now"],
        ),
        (
            "the initiator of another ending keeps the place",
            b.connecting(requeue={"on_ended": "All"}),
            b.all_made(),
            ending(EndReason.ENDED, "alice"),
            ["Original", "Original"],
        ),
    ],
)
def test_the_place_in_the_queue(case: str, match: Match, seen: MatchSeen, cause: EndCause, places: list[str]) -> None:
    assert [outcome.place for outcome in b.releases(match, seen, cause)] == places, case


def test_a_user_who_did_not_come_is_idle_and_marked_as_never_seen() -> None:
    result = b.releases(b.connecting(), b.all_made(people=ALICE), ending(EndReason.NO_SHOW, "bob"))
    assert result == (
        Release("alice", Destination.WAITING, QueuePlace.NOW),
        Release("bob", Destination.IDLE, QueuePlace.NOW, "NeverSeen"),
    )


def test_a_user_who_came_is_not_marked_even_if_no_user_is_requeued() -> None:
    match = b.connecting(requeue={"on_no_show": "None"})
    result = b.releases(match, b.all_made(people=ALICE), ending(EndReason.NO_SHOW, "bob"))
    assert [(o.to, o.detail) for o in result] == [("IDLE", ""), ("IDLE", "NeverSeen")]


def test_the_detail_of_a_missing_user_says_what_was_seen_of_them() -> None:
    result = b.releases(b.active(), b.both_in(people=()), ending(EndReason.ABANDONED, "bob"))
    assert [outcome.detail for outcome in result] == ["", "not listed any more"]


def test_the_destinations_stay_when_a_client_changes_the_order_of_the_participants() -> None:
    match, seen = b.connecting(), b.all_made(30, people=(b.person("alice"),))
    cause = MatchCase(match, seen, b.at(30)).cause
    assert cause is not None
    stored = b.ledger("Terminating", recorded="NoShow", evidence=cause.evidence(b.releases(match, seen, cause)))
    people = tuple(reversed(match.spec.participants))
    turned = match.model_copy(update={"spec": match.spec.model_copy(update={"participants": people})})
    # Meanwhile bob has come; he would be judged in another way.
    (settle,) = plan_match(MatchCase(turned, b.both_in(31, ledger=stored), b.at(31))).actions
    assert isinstance(settle, a.Settle)
    assert [(one.id, one.to) for one in settle.releases] == [("bob", "IDLE"), ("alice", "WAITING")]


@pytest.mark.parametrize(
    "evidence", ["", "not JSON", "[]", '{"code": "NoShow", "subject": ["bob"]}', '{"outcomes": 7}']
)
def test_destinations_that_are_not_recorded_are_decided_when_the_users_are_settled(evidence: str) -> None:
    stored = b.ledger("Terminating", recorded="NoShow", evidence=evidence)
    (settle,) = plan_match(
        MatchCase(b.connecting(), b.all_made(30, ledger=stored, people=(b.person("alice"),)), b.at(30))
    ).actions
    assert isinstance(settle, a.Settle)
    assert [(one.id, one.to) for one in settle.releases] == [("alice", "WAITING"), ("bob", "IDLE")]


def test_settle_carries_the_cause_and_one_outcome_per_user() -> None:
    match = b.active(termination={"action": "Skip", "initiator": "alice", "reason": "next"}, session_id="s-9")
    record = only(plan_match(MatchCase(match, b.both_in(), b.at(9))), a.RecordEnd)
    assert (record.reason, record.initiator, record.session_id) == ("Skipped", "alice", "s-9")
    assert record.message == "alice skipped to the next person: next"
    settle = settle_after(match, record)
    assert (settle.reason, settle.initiator, settle.message) == (record.reason, record.initiator, record.message)
    assert [outcome.id for outcome in settle.releases] == ["alice", "bob"]


def test_a_user_who_was_seen_and_never_connected_keeps_their_place() -> None:
    people = [{"identity": who, "state": "Joining", "since": b.at(2)} for who in b.PEOPLE]
    match = b.connecting(status={"participants": people})
    signaling = tuple(b.person(who, state="JOINED") for who in b.PEOPLE)
    result = b.releases(match, b.all_made(people=signaling), ending(EndReason.DELETED))
    assert [(one.to, one.place) for one in result] == [("WAITING", "Original"), ("WAITING", "Original")]


def test_only_a_no_show_marks_people_as_never_seen() -> None:
    result = b.releases(b.connecting(), b.all_made(), ending(EndReason.SKIPPED, "alice"))
    assert [one.detail for one in result] == ["", ""]


def test_the_detail_of_a_silent_user_says_so() -> None:
    cause = replace(ending(EndReason.NETWORK_LOST, "bob"), code=EndCode.HEARTBEATS_STOPPED)
    result = b.releases(b.active(), b.both_in(people=ALICE), cause)
    assert [one.detail for one in result] == ["", "HeartbeatsStopped"]
