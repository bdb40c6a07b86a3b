"""Why a Match ends, and where its users go: all rows of the table of endings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.api.endings import ENDINGS, EndCode, EndReason, RequeuePolicy, Rollback, Subject
from controller.api.match import Match, QueuePlace, TerminationAction
from controller.facts.ledger import AloneTime, Cause, Destination, End, Release, Wish
from controller.facts.match import AuditFacts, HeartbeatFacts, MatchSeen, Refusal
from controller.facts.observation import Present
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.end_cause import EndCause
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b
from tests.plan.world import only

ALICE = (b.person("alice"),)
DYING_ROOM = b.an_active_room(deleted=True)
OVER_ROOM = b.an_active_room(status={"phase": "Terminated", "reason": "Empty"})
GIVEN_UP_ROOM = b.an_active_room(status={"phase": "Failed", "reason": "Lost"})
BUSY = Refusal(EndCode.USER_BUSY, "bob", "calls/other")


def wish(action: str, **more: str) -> dict[str, str]:
    """Return a `spec.termination`."""
    return {"action": action, **more}


# Each case: a name, the observation, the expected cause.
CAUSES: list[tuple[str, Match, MatchSeen, float, EndReason | None, str, str, set[str]]] = [
    ("nothing is wrong", b.active(), b.both_in(), 9, None, "", "", set()),
    (
        "skip",
        b.active(termination=wish("Skip", initiator="alice", reason="next")),
        b.both_in(),
        9,
        EndReason.SKIPPED,
        "Skipped",
        "alice skipped to the next person: next",
        {"alice"},
    ),
    (
        "end",
        b.active(termination=wish("End", initiator="bob")),
        b.both_in(),
        9,
        EndReason.ENDED,
        "Ended",
        "bob ended the call",
        {"bob"},
    ),
    (
        "disconnect",
        b.active(termination=wish("Disconnect", initiator="moderator", target="bob")),
        b.both_in(),
        9,
        EndReason.DISCONNECTED,
        "Disconnected",
        "bob was disconnected",
        {"bob"},
    ),
    ("deleted", b.active(deleted=True), b.both_in(), 9, EndReason.DELETED, "Deleted", "the Match was deleted", set()),
    (
        "skipped, then deleted: the wish counts",
        b.active(deleted=True, termination=wish("Skip", initiator="alice")),
        b.both_in(),
        9,
        EndReason.SKIPPED,
        "Skipped",
        "alice skipped",
        {"alice"},
    ),
    (
        "settled: the ledger counts, whatever came later",
        b.active(deleted=True, termination=wish("Skip", initiator="alice")),
        b.both_in(ledger=b.ledger("Terminating", settled="NoShow", message="bob did not join")),
        9,
        EndReason.NO_SHOW,
        "NoShow",
        "bob did not join",
        set(),
    ),
    (
        "the ledger has run out: the status counts",
        b.active(deleted=True, status={"end": {"reason": "Ended", "initiator": "bob", "message": "over"}}),
        b.seen(),
        9,
        EndReason.ENDED,
        "Ended",
        "over",
        {"bob"},
    ),
    (
        "busy",
        b.a_match(),
        b.seen(refusal=BUSY),
        1,
        EndReason.FAILED,
        "UserBusy",
        "bob is in another match, calls/other; end that one first",
        set(),
    ),
    (
        "reserved",
        b.a_match(),
        b.seen(refusal=Refusal(EndCode.USER_RESERVED, "bob", "match-9")),
        1,
        EndReason.FAILED,
        "UserReserved",
        "bob is reserved for the match match-9",
        set(),
    ),
    (
        "not queued",
        b.a_match(),
        b.seen(refusal=Refusal(EndCode.USER_NOT_QUEUED, "bob")),
        1,
        EndReason.FAILED,
        "UserNotQueued",
        "bob neither waits in the queue",
        set(),
    ),
    (
        "blocked",
        b.a_match(),
        b.seen(refusal=Refusal(EndCode.USER_BLOCKED, "bob")),
        1,
        EndReason.FAILED,
        "UserBlocked",
        "bob is blocked",
        set(),
    ),
    (
        "busy, but that one is ending",
        b.a_match(),
        b.seen(refusal=Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True)),
        1,
        None,
        "",
        "",
        set(),
    ),
    ("refused, but ours already", b.a_match(), b.seen(ledger=b.ledger(), refusal=BUSY), 1, None, "", "", set()),
    ("just in time", b.a_match(), b.seen(), 29.999, None, "", "", set()),
    (
        "too late",
        b.a_match(),
        b.seen(),
        30,
        EndReason.FAILED,
        "TooLate",
        "not Ready within 30 s of its creation (the operator did not get to it",
        set(),
    ),
    (
        "too late, since LiveKit was down",
        b.a_match(),
        b.all_made(30, livekit_room=None, trouble="no answer"),
        31,
        EndReason.FAILED,
        "TooLate",
        "(no answer)",
        set(),
    ),
    (
        "too late, since bob was held",
        b.a_match(),
        b.seen(30, refusal=Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True)),
        31,
        EndReason.FAILED,
        "TooLate",
        "(bob was still in match calls/other)",
        set(),
    ),
    (
        "too late, since LiveKit did not make the room",
        b.a_match(),
        b.all_made(30, livekit_room=None),
        31,
        EndReason.FAILED,
        "TooLate",
        "(LiveKit has not made the room yet)",
        set(),
    ),
    (
        "too late, since there were no tokens",
        b.a_match(),
        b.all_made(30, tokens=None),
        31,
        EndReason.FAILED,
        "TooLate",
        "(the operator did not get to it in time)",
        set(),
    ),
    ("Ready is Ready, however late it is", b.connecting(), b.all_made(31), 25.9, None, "", "", set()),
    ("before the window is over", b.connecting(), b.all_made(25.9), 25.9, None, "", "", set()),
    (
        "no participant came",
        b.connecting(),
        b.all_made(26),
        26,
        EndReason.NO_SHOW,
        "NoShow",
        "alice and bob did not join within 25 s",
        {"alice", "bob"},
    ),
    (
        "one did not come",
        b.connecting(),
        b.all_made(26, people=ALICE),
        26,
        EndReason.NO_SHOW,
        "NoShow",
        "bob did not join within 25 s",
        {"bob"},
    ),
    ("both came", b.connecting(), b.both_in(26), 26, None, "", "", set()),
    ("nothing was read since", b.connecting(), b.all_made(25.9), 40, None, "", "", set()),
    ("the people were not read since", b.connecting(), b.all_made(40, people=b.unknown()), 40, None, "", "", set()),
    (
        "only the ledger was read since",
        b.connecting(),
        b.all_made(40, people=Present((), b.at(25.9))),
        40,
        None,
        "",
        "",
        set(),
    ),
    ("the ledger was not read since", b.connecting(), b.all_made(40, ledger=b.unknown(40)), 40, None, "", "", set()),
    (
        "the people could not be read since",
        b.connecting(),
        b.all_made(40, people=b.unknown(40)),
        40,
        None,
        "",
        "",
        set(),
    ),
    (
        "only the people were read since",
        b.connecting(),
        b.all_made(40, ledger=Present(b.ledger("Connecting"), b.at(25.9))),
        40,
        None,
        "",
        "",
        set(),
    ),
    ("they met once: no NoShow any more", b.active(), b.all_made(60), 60, None, "", "", set()),
    ("within the longest duration", b.active(), b.both_in(7202), 7202.9, None, "", "", set()),
    (
        "the longest duration is over",
        b.active(),
        b.both_in(7203),
        7203,
        EndReason.MAX_DURATION,
        "MaxDuration",
        "7200 s",
        set(),
    ),
    ("no limit", b.active(timeouts={"max_duration_seconds": 0}), b.both_in(9000), 9000, None, "", "", set()),
    (
        "the Room is gone",
        b.active(),
        b.both_in(room=None),
        9,
        EndReason.ROOM_LOST,
        "RoomLost",
        "its Room was deleted",
        set(),
    ),
    (
        "the Room is being deleted",
        b.active(),
        b.both_in(room=DYING_ROOM),
        9,
        EndReason.ROOM_LOST,
        "RoomLost",
        "its Room was deleted",
        set(),
    ),
    (
        "the Room is over",
        b.active(),
        b.both_in(room=OVER_ROOM),
        9,
        EndReason.ROOM_LOST,
        "RoomLost",
        "its Room is Terminated (Empty)",
        set(),
    ),
    (
        "the Room was given up",
        b.active(),
        b.both_in(room=GIVEN_UP_ROOM),
        9,
        EndReason.ROOM_LOST,
        "RoomLost",
        "the room was lost: its Room is Failed (Lost)",
        set(),
    ),
    ("the Room is unknown", b.active(), b.both_in(room=b.unknown()), 9, None, "", "", set()),
    ("no Room yet", b.a_match(), b.seen(ledger=b.ledger()), 1, None, "", "", set()),
]


@pytest.mark.parametrize("case", CAUSES, ids=[c[0] for c in CAUSES])
def test_a_match_ends_for_the_first_cause_and_says_which(case: tuple[Any, ...]) -> None:
    _, match, seen, seconds, reason, code, words, subject = case
    cause = MatchCase(match, seen, b.at(seconds)).cause
    if reason is None:
        assert cause is None
        return
    assert cause is not None
    assert (cause.reason, cause.code) == (reason, code)
    assert words in cause.message
    assert cause.subject == subject


@pytest.mark.parametrize("reason", EndReason)
@pytest.mark.parametrize("ready", [False, True])
def test_rollback_follows_the_table_of_endings(reason: EndReason, ready: bool) -> None:
    match = b.connecting() if ready else b.a_match()
    recorded = b.seen(ledger=b.ledger("Terminating", settled=reason.value))
    cause = MatchCase(match, recorded, b.at(2)).cause
    assert cause is not None
    rule = ENDINGS[reason].rollback
    assert cause.is_rollback is (rule is Rollback.ALWAYS or (rule is Rollback.BEFORE_READY and not ready))


def ending(reason: EndReason, *subject: str, rollback: bool = False) -> EndCause:
    """Return a cause as the planner finds it."""
    return EndCause(reason, reason, "why", subject=frozenset(subject), is_rollback=rollback)


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


def settle_after(match: Match, record: a.RecordEnd) -> a.Settle:
    """Return the planned settlement after this cause was recorded."""
    stored = b.ledger(
        "Terminating",
        recorded=record.reason,
        initiator=record.initiator,
        message=record.message,
        evidence=record.evidence,
    )
    settle: a.Settle = only(plan_match(MatchCase(match, b.both_in(ledger=stored), b.at(9))), a.Settle)
    return settle


@pytest.mark.parametrize("evidence", ["", "no JSON", "[]", "{}", '{"code": "X"}', '{"code": "X", "subject": null}'])
def test_a_cause_whose_evidence_cannot_be_read_counts_all_the_same(evidence: str) -> None:
    stored = b.both_in(ledger=b.ledger("Terminating", recorded="Ended", initiator="alice", evidence=evidence))
    cause = MatchCase(b.active(), stored, b.at(9)).cause
    assert cause is not None
    assert (cause.reason, cause.subject) == (EndReason.ENDED, frozenset({"alice"}))


@pytest.mark.parametrize("case", CAUSES, ids=[c[0] for c in CAUSES])
def test_a_cause_reads_back_from_the_ledger_as_it_was_found(case: tuple[Any, ...]) -> None:
    _, match, seen, seconds, *_ = case
    cause = MatchCase(match, seen, b.at(seconds)).cause
    if cause is None:
        return
    decided = b.releases(match, seen, cause)
    stored = b.ledger(
        "Terminating",
        recorded=cause.reason,
        initiator=cause.initiator,
        message=cause.message,
        evidence=cause.evidence(decided),
    )
    found = MatchCase(match, b.both_in(ledger=stored), b.at(9)).cause
    assert found == replace(cause, releases=decided)


@pytest.mark.parametrize("case", CAUSES, ids=[c[0] for c in CAUSES])
def test_the_destination_of_users_is_decided_with_the_cause_whatever_they_do_afterwards(case: tuple[Any, ...]) -> None:
    """Clients are told to hang up before their users are settled: in between, both participants have left."""
    _, match, seen, seconds, *_ = case
    cause = MatchCase(match, seen, b.at(seconds)).cause
    if cause is None or cause.is_rollback:
        return
    decided = b.releases(match, seen, cause)
    stored = b.ledger("Terminating", recorded=cause.reason, evidence=cause.evidence(decided))
    afterwards = b.all_made(seconds + 1, ledger=stored, people=())
    (settle,) = plan_match(MatchCase(match, afterwards, b.at(seconds + 1))).actions
    assert isinstance(settle, a.Settle)
    assert settle.releases == decided


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


def test_settle_carries_the_cause_and_one_outcome_per_user() -> None:
    match = b.active(termination={"action": "Skip", "initiator": "alice", "reason": "next"}, session_id="s-9")
    record = only(plan_match(MatchCase(match, b.both_in(), b.at(9))), a.RecordEnd)
    assert (record.reason, record.initiator, record.session_id) == ("Skipped", "alice", "s-9")
    assert record.message == "alice skipped to the next person: next"
    settle = settle_after(match, record)
    assert (settle.reason, settle.initiator, settle.message) == (record.reason, record.initiator, record.message)
    assert [outcome.id for outcome in settle.releases] == ["alice", "bob"]


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


SKIP_SIGNAL = Wish(TerminationAction.SKIP, "alice", via="signal")
BOB_IS_STRAY = AuditFacts(taken_away=frozenset({"bob"}))
BOB_IS_SILENT = HeartbeatFacts(frozenset({"bob"}), 90.0)
# Bob said goodbye at second 10, and alice is alone since then.
BOB_IS_GONE = b.ledger("Reconnecting", last={"bob": b.event("left", 10, sid="PA_bob", reason="CLIENT_INITIATED")})
BOB_RECONNECTS = b.active(
    timeouts={"leaveSeconds": 60, "reconnectSeconds": 120, "soloSeconds": 300, "maxDurationSeconds": 600},
    status={
        "phase": "Reconnecting",
        "participants": [
            {"identity": "alice", "state": "Connected", "since": b.at(3), "connected_at": b.at(3)},
            {"identity": "bob", "state": "Reconnecting", "since": b.at(10), "detail": "CLIENT_INITIATED"},
        ],
    },
)


def bob_is_gone(seconds: float, *, alone: bool = False, silent: bool = False) -> MatchSeen:
    """Alice is in the room without bob. `alone`: the ledger counts her as alone; `silent`: bob's heartbeats stopped."""
    ledger = replace(BOB_IS_GONE, alone=AloneTime(0, b.ms(10) if alone else None))
    seen = b.both_in(seconds, ledger=ledger, people=ALICE)
    return replace(seen, heartbeats=BOB_IS_SILENT) if silent else seen


# Two causes at once: (case, match, seen, seconds, the code of the one that counts).
ORDER: list[tuple[str, Match, MatchSeen, float, str]] = [
    (
        "the ledger, and then the status",
        b.active(status={"end": {"reason": "Ended"}}),
        b.all_gone(ledger=b.ledger("Terminating", settled="NoShow")),
        9,
        "NoShow",
    ),
    (
        "the status, and then the wish",
        b.active(status={"end": {"reason": "RoomLost"}}, termination=wish("Skip", initiator="alice")),
        b.all_gone(ledger=None),
        9,
        "RoomLost",
    ),
    (
        "a signal, and then the deletion",
        b.active(deleted=True),
        b.both_in(ledger=replace(b.ledger("Active"), wish=SKIP_SIGNAL)),
        9,
        "Skipped",
    ),
    ("the deletion, and then a refusal", b.a_match(deleted=True), b.seen(refusal=BUSY), 9, "Deleted"),
    ("a refusal, and then that it is late", b.a_match(), b.seen(31, refusal=BUSY), 31, "UserBusy"),
    ("the Room, and then a stray", b.active(), replace(b.both_in(room=None), audit=BOB_IS_STRAY), 9, "RoomLost"),
    (
        "a stray, and then a no-show",
        b.connecting(),
        replace(b.all_made(26), audit=BOB_IS_STRAY),
        26,
        "UserTakenAway",
    ),
    ("a goodbye, and then silence", BOB_RECONNECTS, bob_is_gone(71, silent=True), 71, "Left"),
    (
        "silence, and then being alone",
        b.active(timeouts={"soloSeconds": 20}),
        bob_is_gone(31, alone=True, silent=True),
        31,
        "HeartbeatsStopped",
    ),
    (
        "being alone, and then the longest duration",
        b.active(timeouts={"soloSeconds": 300, "maxDurationSeconds": 300}),
        bob_is_gone(311, alone=True),
        311,
        "Abandoned",
    ),
]


@pytest.mark.parametrize(
    ("match", "seen", "seconds", "code"), [case[1:] for case in ORDER], ids=[case[0] for case in ORDER]
)
def test_the_first_of_two_causes_in_the_list_counts(match: Match, seen: MatchSeen, seconds: float, code: str) -> None:
    cause = MatchCase(match, seen, b.at(seconds)).cause
    assert cause is not None
    assert cause.code == code


def test_an_end_in_the_ledger_without_a_reason_decides_nothing() -> None:
    nameless = replace(b.ledger("Active"), end=End(Cause(), b.ms(5)))
    assert MatchCase(b.active(), b.both_in(ledger=nameless), b.at(9)).cause is None


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


def test_a_match_whose_attributes_livekit_would_refuse_is_not_made() -> None:
    """An older CRD lets it in."""
    people = [{"identity": "alice"}, {"identity": "bob", "attributes": {f"{n:08}": "👩" * 1024 for n in range(16)}}]
    found = MatchCase(b.a_match(participants=people), b.seen(), b.at(1)).cause
    assert found is not None
    assert (found.code, found.is_rollback) == (EndCode.ATTRIBUTES_TOO_LARGE, True)
    assert "the attributes of bob are 65664 bytes in total" in found.message
    assert MatchCase(b.a_match(), b.seen(), b.at(1)).cause is None
