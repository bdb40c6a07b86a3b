"""The plan of a Match: state in, plan out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from controller.api.endings import EndCode
from controller.api.match import Match
from controller.errors import Backend
from controller.facts.ledger import AloneTime
from controller.facts.match import AuditFacts, MatchSeen, Refusal
from controller.facts.observation import Absent, Present
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b
from tests.plan.world import check_plan, names, only

BUSY = Refusal(EndCode.USER_BUSY, "bob", "calls/other")
PATIENT = b.active(timeouts={"soloSeconds": 3600})
BOB_IS_MISSING = b.both_in(
    people=(b.person("alice"),),
    ledger=replace(b.ledger("Reconnecting"), alone=AloneTime(0, b.ms(599))),
)
ENDING = Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True)
DYING_ROOM = b.an_active_room(deleted=True)
END = {"action": "End", "initiator": "alice"}
ENDED = b.OVER | {
    "ended_at": b.at(60),
    "end": {"reason": "Ended", "initiator": "alice", "message": "over"},
}

# An observation, its time, and the planned actions: (case, match, seen, seconds, actions).
STEPS: list[tuple[str, Match, MatchSeen, float, list[str]]] = [
    ("paused: nothing at all", b.a_match(paused=True, finalizers=()), b.seen(), 2, []),
    ("new: the finalizer, and nothing before it", b.a_match(finalizers=()), b.seen(), 0, ["AddFinalizer"]),
    ("new, ledger unknown: the finalizer", b.a_match(finalizers=()), b.seen(ledger=b.unknown()), 0, ["AddFinalizer"]),
    ("deleted before we saw it: let it go", b.a_match(finalizers=(), deleted=True), b.seen(), 2, []),
    (
        "our finalizer was removed: users are released all the same",
        b.a_match(finalizers=(), deleted=True),
        b.seen(ledger=b.ledger()),
        2,
        ["Settle"],
    ),
    ("secured: claim", b.a_match(), b.seen(), 1, ["Claim"]),
    ("ledger of a claim that never ran: claim", b.a_match(), b.seen(ledger=b.ledger("", claimed=False)), 1, ["Claim"]),
    ("ledger unknown: wait", b.a_match(), b.seen(ledger=b.unknown()), 1, []),
    ("ledger unknown and deleted: wait", b.active(deleted=True), b.both_in(ledger=b.unknown()), 9, []),
    ("ledger unknown and too late: wait", b.a_match(), b.seen(ledger=b.unknown()), 99, []),
    ("refused by a Match that is ending: wait for it", b.a_match(), b.seen(refusal=ENDING), 1, []),
    ("refused for good: roll back", b.a_match(), b.seen(refusal=BUSY), 1, ["Settle"]),
    ("claimed: the Room", b.a_match(), b.seen(ledger=b.ledger()), 1, ["CreateRoom"]),
    ("claimed, Room unknown: wait", b.a_match(), b.seen(ledger=b.ledger(), room=b.unknown()), 1, []),
    (
        "Room made: tokens and address, while LiveKit makes the room",
        b.a_match(),
        b.seen(ledger=b.ledger(), room=b.a_room()),
        1,
        ["IssueTokens", "Advance"],
    ),
    (
        "address published, tokens not known: tokens",
        b.a_match(),
        b.all_made(tokens=b.unknown(), livekit_room=None),
        1,
        ["IssueTokens"],
    ),
    ("tokens out, not published: the address", b.a_match(), b.all_made(ledger=b.ledger()), 1, ["Advance"]),
    (
        "delivery None: no tokens",
        b.a_match(tokens={"delivery": "None"}),
        b.seen(ledger=b.ledger(), room=b.a_room()),
        1,
        ["Advance"],
    ),
    ("LiveKit has no room yet: wait", b.a_match(), b.all_made(livekit_room=None), 1, []),
    ("LiveKit does not answer: wait", b.a_match(), b.all_made(livekit_room=b.unknown()), 1, []),
    ("all there: nothing, the status says Ready", b.a_match(), b.all_made(), 1, []),
    ("Ready, one is in: wait", b.connecting(), b.all_made(people=(b.person("alice"),)), 4, []),
    ("Ready, both are in: IN_CALL", b.connecting(), b.both_in(ledger=b.ledger("Connecting")), 4, ["Advance"]),
    ("up: nothing", b.active(), b.both_in(), 9, []),
    (
        "up, LiveKit does not answer: nothing",
        b.active(),
        b.both_in(livekit_room=b.unknown(), people=b.unknown()),
        9,
        [],
    ),
    (
        "up, room lost: the ledger says that no participant is in; the room's own key restores it",
        b.active(),
        b.both_in(livekit_room=None, people=()),
        9,
        ["Advance"],
    ),
    ("up, Room unknown: nothing", b.active(), b.both_in(room=b.unknown()), 9, []),
    (
        "tokens for another room: again",
        b.active(),
        b.both_in(tokens=b.tokens(livekit_name="rk-old")),
        9,
        ["IssueTokens"],
    ),
    ("tokens a third from their end, bob is missing: again", PATIENT, BOB_IS_MISSING, 600, ["IssueTokens"]),
    ("tokens just before: not yet", PATIENT, BOB_IS_MISSING, 599.9, []),
    ("tokens run out, both are in: none is needed", PATIENT, b.both_in(), 1000, []),
    ("a wish to end: the cause is recorded first", b.active(termination=END), b.both_in(), 9, ["RecordEnd"]),
    (
        "recorded: the participants are told",
        b.active(),
        b.both_in(ledger=b.ledger("Active", recorded="NoShow")),
        9,
        ["Advance"],
    ),
    (
        "told: settle, alone",
        b.active(),
        b.both_in(ledger=b.ledger("Terminating", recorded="Ended", initiator="alice")),
        9,
        ["Settle"],
    ),
    (
        "settled: the room and the tokens go",
        b.active(termination=END),
        b.both_in(ledger=b.ledger("Terminating", settled="Ended", initiator="alice")),
        9,
        ["DeleteRoom", "RevokeTokens"],
    ),
    (
        "settled, tokens unknown: taken away again",
        b.active(),
        b.all_gone(tokens=b.unknown()),
        9,
        ["RevokeTokens"],
    ),
    (
        "settled, tokens never wanted: nothing to take away",
        b.active(tokens={"delivery": "None"}),
        b.all_gone(tokens=b.unknown()),
        9,
        [],
    ),
    (
        "ended before the claim, ledger without users: a tombstone",
        b.a_match(termination=END),
        b.seen(ledger=b.ledger("", claimed=False)),
        2,
        ["Settle"],
    ),
    (
        "both were faster than the status: IN_CALL",
        b.a_match(),
        b.both_in(ledger=b.ledger("Connecting")),
        2,
        ["Advance"],
    ),
    ("settled, room closing: wait", b.active(), b.all_gone(room=DYING_ROOM), 9, []),
    ("settled, Room unknown: wait", b.active(deleted=True), b.all_gone(room=b.unknown()), 9, []),
    ("over: nothing", b.active(), b.all_gone(), 9, []),
    ("over and deleted: let it go", b.active(deleted=True), b.all_gone(), 9, ["ReleaseFinalizer"]),
    ("over, deleted, no finalizer of ours: nothing", b.active(deleted=True, finalizers=()), b.all_gone(), 9, []),
    ("deleted before the claim: a tombstone", b.a_match(deleted=True), b.seen(), 2, ["Settle"]),
    ("deleted while claimed: rollback at once", b.a_match(deleted=True), b.seen(ledger=b.ledger()), 2, ["Settle"]),
    ("deleted when Ready: recorded first", b.connecting(deleted=True), b.all_made(), 2, ["RecordEnd"]),
    ("Ended: shown until its time is over", b.active(status=ENDED), b.all_gone(), 359.9, []),
    ("Ended and shown: deleted", b.active(status=ENDED), b.all_gone(), 360, ["DeleteObject"]),
    ("Ended and deleted: let it go", b.active(status=ENDED, deleted=True), b.all_gone(), 90, ["ReleaseFinalizer"]),
    (
        "Ended and deleted, Redis away: let go all the same",
        b.active(status=ENDED, deleted=True),
        b.all_gone(ledger=b.unknown()),
        90,
        ["ReleaseFinalizer"],
    ),
    ("Ended, the ledger has run out: nothing", b.active(status=ENDED), b.all_gone(ledger=None), 90, []),
    (
        "Ended, a Room has come up again: deleted",
        b.active(status=ENDED),
        b.all_gone(room=b.a_room()),
        90,
        ["DeleteRoom"],
    ),
    (
        "Ended, the ledger has run out, and a Room has come up again: deleted",
        b.active(status=ENDED),
        b.all_gone(ledger=None, room=b.a_room()),
        90,
        ["DeleteRoom"],
    ),
    ("Ended, our finalizer was taken off: it stays off", b.active(status=ENDED, finalizers=()), b.all_gone(), 90, []),
    ("our Room is being deleted: RoomLost", b.active(), b.both_in(room=DYING_ROOM), 9, ["RecordEnd"]),
    ("our Room is gone: RoomLost", b.connecting(), b.all_made(room=None), 9, ["RecordEnd"]),
    ("too late: rollback", b.a_match(), b.seen(ledger=b.ledger()), 30, ["Settle"]),
    ("just in time: go on", b.a_match(), b.seen(ledger=b.ledger()), 29.9, ["CreateRoom"]),
    ("max duration: recorded first", b.active(), b.both_in(9000, tokens=b.tokens(9999)), 7203, ["RecordEnd"]),
    ("no limit: go on", b.active(timeouts={"max_duration_seconds": 0}), b.both_in(), 599, []),
]


@pytest.mark.parametrize(
    ("match", "seen", "seconds", "expected"), [case[1:] for case in STEPS], ids=[c[0] for c in STEPS]
)
def test_the_next_step_follows_from_what_is_seen(
    match: Match, seen: MatchSeen, seconds: float, expected: list[str]
) -> None:
    plan = plan_match(MatchCase(match, seen, b.at(seconds)))
    assert names(plan) == expected
    check_plan(plan)


@pytest.mark.parametrize("case", STEPS, ids=[c[0] for c in STEPS])
def test_an_empty_plan_says_what_it_waits_for(case: tuple[Any, ...]) -> None:
    _, match, seen, seconds, expected = case
    assert (
        expected
        or plan_match(MatchCase(match, seen, b.at(seconds))).waits_for
        or match.metadata.deletion_timestamp is not None
    )


@pytest.mark.parametrize("case", STEPS, ids=[c[0] for c in STEPS])
def test_the_same_state_gives_the_same_plan(case: tuple[Any, ...]) -> None:
    _, match, seen, seconds, _ = case
    assert plan_match(MatchCase(match, seen, b.at(seconds))) == plan_match(MatchCase(match, seen, b.at(seconds)))


DEADLINES: list[tuple[str, Match, MatchSeen, float, datetime | None]] = [
    ("claiming: until Ready", b.a_match(), b.seen(), 1, b.at(30)),
    ("refused for now: soon again", b.a_match(), b.seen(refusal=ENDING), 1, b.at(1.1)),
    ("refused for now, at the end: no later than that", b.a_match(), b.seen(refusal=ENDING), 29.95, b.at(30)),
    ("making the Room", b.a_match(), b.seen(ledger=b.ledger()), 1, b.at(30)),
    ("Room unknown", b.a_match(), b.seen(ledger=b.ledger(), room=b.unknown()), 1, b.at(30)),
    ("handing out", b.a_match(), b.seen(ledger=b.ledger(), room=b.a_room()), 1, b.at(30)),
    ("LiveKit makes the room", b.a_match(), b.all_made(livekit_room=None), 1, b.at(30)),
    ("Ready long ago, and the Room is gone", b.connecting(), b.seen(ledger=b.ledger("Connecting")), 90, None),
    ("Ready long ago, and the Room is unknown", b.connecting(),
     b.seen(ledger=b.ledger("Connecting"), room=b.unknown()), 90, None),
    ("they have met, though the status has lost that it was Ready", b.connecting(status={"ready_at": None}),
     b.seen(ledger=b.ledger("Active"), room=b.unknown()), 90, None),
    ("people join: connectSeconds after Ready", b.connecting(), b.all_made(), 2, b.at(26)),
    ("window over, but looked before: at once", b.connecting(), b.all_made(20), 26.5, b.at(26.5)),
    ("window over, but the ledger read before: at once", b.connecting(),
     b.all_made(26, ledger=Present(b.ledger("Connecting"), b.at(20))), 26.5, b.at(26.5)),
    ("window over, but the people read before: at once", b.connecting(),
     b.all_made(26, people=Present((), b.at(20))), 26.5, b.at(26.5)),
    ("window over, people unknown: soon", b.connecting(), b.all_made(20, people=b.unknown()), 26.5, b.at(27.5)),
    ("people join, patiently: renewal of the tokens",
     b.connecting(timeouts={"connectSeconds": 3600}, room={"emptyTimeoutSeconds": 3605}), b.all_made(), 2,
     b.at(600)),
    ("call up: no renewal of the tokens, but its longest duration", b.active(), b.both_in(), 4, b.at(7203)),
    ("call up: its longest duration", b.active(timeouts={"max_duration_seconds": 60}), b.both_in(), 4, b.at(63)),
    ("no tokens, no limit: never", b.active(tokens={"delivery": "None"}, timeouts={"max_duration_seconds": 0}),
     b.both_in(tokens=None), 4, None),
    ("Ended: ttlSecondsAfterFinished", b.active(status=ENDED), b.all_gone(), 90, b.at(360)),
    ("paused: never", b.a_match(paused=True), b.seen(), 1, None),
    ("Redis away: the worker comes back", b.a_match(), b.seen(ledger=b.unknown()), 1, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("match", "seen", "seconds", "deadline"), [case[1:] for case in DEADLINES], ids=[c[0] for c in DEADLINES]
)
def test_a_plan_that_waits_says_until_when(
    match: Match, seen: MatchSeen, seconds: float, deadline: datetime | None
) -> None:
    assert plan_match(MatchCase(match, seen, b.at(seconds))).deadline == deadline


@pytest.mark.parametrize(
    ("case", "match", "seen", "blocked_by"),
    [
        ("ledger unknown", b.active(), b.both_in(ledger=b.unknown()), Backend.REDIS),
        ("Room unknown before Ready", b.a_match(), b.seen(ledger=b.ledger(), room=b.unknown()), Backend.KUBERNETES),
        ("Room unknown at the end", b.active(), b.all_gone(room=b.unknown()), Backend.KUBERNETES),
        ("the Room is still closing", b.active(), b.all_gone(room=DYING_ROOM), None),
        ("people are awaited", b.connecting(), b.all_made(), None),
        ("paused", b.a_match(paused=True), b.seen(ledger=b.unknown()), None),
    ],
)
def test_a_plan_that_is_held_up_names_the_backend_that_must_answer_first(
    case: str, match: Match, seen: MatchSeen, blocked_by: Backend | None
) -> None:
    plan = plan_match(MatchCase(match, seen, b.at(9)))
    assert (plan.blocked_by, plan.frozen) == (blocked_by, case == "paused")


def test_a_deadline_of_this_very_moment_is_not_waited_for_in_a_tight_loop() -> None:
    # The observation of this moment has both participants in the room; the status will say so.
    seen = b.both_in(26, ledger=b.ledger("Active"))
    assert plan_match(MatchCase(b.connecting(), seen, b.at(26))).deadline == b.at(27)


@pytest.mark.parametrize(
    ("case", "match", "expected"),
    [
        ("over", b.active(status=ENDED), ["DeleteObject"]),
        ("over, and being deleted", b.active(status=ENDED, deleted=True), ["ReleaseFinalizer"]),
        ("over, and paused", b.active(status=ENDED, paused=True), []),
        ("not over", b.active(), []),
    ],
)
def test_a_match_that_is_over_and_surplus_is_deleted_before_its_ttl(
    case: str, match: Match, expected: list[str]
) -> None:
    seen = b.both_in() if match.status.ended_at is None else b.all_gone()
    assert names(plan_match(MatchCase(match, replace(seen, is_over_limit=True), b.at(61)))) == expected, case


def test_ttl_zero_deletes_a_finished_match_at_once() -> None:
    match = b.active(status=ENDED, ttl_seconds_after_finished=0)
    assert names(plan_match(MatchCase(match, b.all_gone(), b.at(60)))) == ["DeleteObject"]


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("ledger", b.both_in(ledger=b.unknown())),
        ("LiveKit room", b.both_in(livekit_room=b.unknown())),
        ("people", b.both_in(people=b.unknown())),
        ("Room", b.both_in(room=b.unknown())),
        ("tokens", b.both_in(tokens=b.unknown())),
        ("everything", b.seen(ledger=b.unknown(), room=b.unknown(), livekit_room=b.unknown(), people=b.unknown())),
    ],
)
@pytest.mark.parametrize("seconds", [5, 27, 500])
@pytest.mark.parametrize("match", [b.a_match(status={"ready_at": b.at(1)}), b.connecting(), b.active()])
def test_nothing_destructive_follows_from_unknown(what: str, seen: MatchSeen, seconds: float, match: Match) -> None:
    del what
    harmless = {"IssueTokens", "Advance"}
    plan = plan_match(MatchCase(match, seen, b.at(seconds)))
    assert set(names(plan)) <= harmless
    assert all(action.state != "DISCONNECTING" for action in plan.actions if isinstance(action, a.Advance))


@pytest.mark.parametrize("match", [b.active(deleted=True), b.active(termination=END)])
def test_users_are_let_go_while_livekit_does_not_answer(match: Match) -> None:
    """The steps of an ending free them: not the limit of a deletion, and not a sweep."""
    away: dict[str, Any] = {"livekit_room": b.unknown(), "people": b.unknown(), "room": b.an_active_room()}
    steps = [
        (b.ledger("Active"), "RecordEnd"),
        (b.ledger("Active", recorded="Ended"), "Advance"),
        (b.ledger("Terminating", recorded="Ended"), "Settle"),
    ]
    for ledger, step in steps:
        assert names(plan_match(MatchCase(match, b.both_in(ledger=ledger, **away), b.at(9)))) == [step]


def test_an_advance_carries_room_and_address() -> None:
    plan = plan_match(MatchCase(b.a_match(session_id="s-9"), b.all_made(ledger=b.ledger()), b.at(1)))
    advance = only(plan, a.Advance)
    assert (advance.identities, advance.state, advance.phase) == (b.PEOPLE, "CONNECTING", "Connecting")
    assert (advance.livekit_name, advance.url, advance.session_id) == (b.LIVEKIT_NAME, b.URL, "s-9")


@pytest.mark.parametrize(
    ("match", "seen", "state", "phase"),
    [
        (b.connecting(), b.both_in(ledger=b.ledger("Connecting")), "IN_CALL", "Active"),
        (b.active(), b.both_in(ledger=b.ledger("Active", recorded="Ended")), "DISCONNECTING", "Terminating"),
    ],
)
def test_states_move_with_the_phase(match: Match, seen: MatchSeen, state: str, phase: str) -> None:
    advance = only(plan_match(MatchCase(match, seen, b.at(9))), a.Advance)
    assert (advance.state, advance.phase) == (state, phase)


def test_without_a_room_nothing_is_published() -> None:
    match = b.connecting(termination=END)
    advance = only(
        plan_match(MatchCase(match, b.seen(ledger=b.ledger("Connecting", recorded="Ended")), b.at(9))), a.Advance
    )
    assert (advance.livekit_name, advance.url) == ("", "")


def test_the_target_is_the_version_that_was_planned_for() -> None:
    target = only(plan_match(MatchCase(b.a_match(), b.seen(), b.at(1))), a.Claim).target
    assert (target.kind.kind, target.namespace, target.name) == ("Match", b.NAMESPACE, b.NAME)
    assert (target.uid, target.resource_version) == (b.MATCH_UID, "100")


def test_the_session_is_the_uid_unless_the_matchmaker_named_one() -> None:
    assert only(plan_match(MatchCase(b.a_match(), b.seen(), b.at(1))), a.Claim).session_id == b.MATCH_UID
    assert only(plan_match(MatchCase(b.a_match(session_id="s-9"), b.seen(), b.at(1))), a.Claim).session_id == "s-9"


REFUSALS = [
    Refusal(EndCode.USER_BUSY, "bob", "calls/other"),
    Refusal(EndCode.USER_RESERVED, "bob", "other"),
    Refusal(EndCode.USER_NOT_QUEUED, "bob"),
    Refusal(EndCode.USER_BLOCKED, "bob"),
]


def test_a_match_that_has_started_is_restored_and_never_claimed() -> None:
    for match in (b.connecting(admission="Queued"), b.active(admission="Queued")):
        only(plan_match(MatchCase(match, b.all_made(9, ledger=None), b.at(9))), a.RestoreUsers)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_a_restore_that_is_refused_ends_no_call_and_is_tried_again(refusal: Refusal) -> None:
    case = MatchCase(b.active(), replace(b.both_in(), ledger=Absent(b.at(9)), refusal=refusal), b.at(9))
    assert case.cause is None
    plan = plan_match(case)
    assert (plan.actions, plan.deadline) == ((), b.at(11))
    degraded = next(c for c in match_status(case, None).conditions if c.type == "Degraded")
    assert (degraded.status, degraded.reason) == ("True", "RecordsDiffer")
    assert "the call goes on" in degraded.message


def test_a_record_that_is_not_there_is_written_again_and_ends_no_call() -> None:
    seen = replace(b.both_in(), audit=AuditFacts(unrecorded=frozenset({"bob"})))
    case = MatchCase(b.active(), seen, b.at(9))
    assert case.cause is None
    only(plan_match(case), a.RestoreUsers)
    refused = MatchCase(b.active(), replace(seen, refusal=REFUSALS[0]), b.at(9))
    assert plan_match(refused).waits_for == "people", "the call is followed all the same"


def test_a_record_that_names_no_match_counts_only_beside_a_ledger() -> None:
    taken = AuditFacts(taken_away=frozenset({"bob"}))
    assert MatchCase(b.active(), replace(b.both_in(), audit=taken), b.at(9)).cause is not None
    lost = replace(b.both_in(), ledger=Absent(b.at(9)), audit=taken)
    assert MatchCase(b.active(), lost, b.at(9)).cause is None


def test_a_match_that_ended_long_ago_takes_no_user_again_if_one_sign_and_finished_are_left_of_its_end() -> None:
    finished = {"type": "Finished", "status": "True", "reason": "Ended", "lastTransitionTime": b.at(60).isoformat()}
    match = b.active(status={"ended_at": b.at(60), "conditions": [finished]})
    assert names(plan_match(MatchCase(match, b.seen(), b.at(90)))) == []


def test_a_terminal_phase_without_an_end_is_not_believed() -> None:
    case = MatchCase(b.active(status={"phase": "Ended"}), b.both_in(), b.at(9))
    assert plan_match(case).actions == ()
    assert match_status(case, None).phase == "Active"


@pytest.mark.parametrize(
    ("delivery", "from_secret", "from_redis"),
    [("Secret", True, False), ("Redis", False, True), ("Both", True, True)],
)
def test_tokens_are_taken_away_from_where_they_were_put(delivery: str, from_secret: bool, from_redis: bool) -> None:
    match = b.active(tokens={"delivery": delivery})
    revoke = only(plan_match(MatchCase(match, b.all_gone(tokens=b.tokens()), b.at(9))), a.RevokeTokens)
    assert (revoke.from_secret, revoke.from_redis) == (from_secret, from_redis)


def test_the_room_that_is_deleted_is_the_one_that_was_seen() -> None:
    delete = only(plan_match(MatchCase(b.active(), b.all_gone(room=b.an_active_room()), b.at(9))), a.DeleteRoom)
    assert (delete.room_name, delete.room_uid) == (b.ROOM_NAME, b.ROOM_UID)


READY: list[tuple[str, Match, MatchSeen, bool]] = [
    ("all there", b.a_match(), b.all_made(), True),
    ("no tokens wanted", b.a_match(tokens={"delivery": "None"}), b.all_made(tokens=None), True),
    ("tokens unknown", b.a_match(), b.all_made(tokens=b.unknown()), False),
    ("tokens of another room", b.a_match(), b.all_made(tokens=b.tokens(livekit_name="rk-old")), False),
    ("tokens that the present key signed", b.a_match(), b.all_made(tokens=b.tokens(api_key="key")), True),
    ("tokens that another key signed", b.a_match(), b.all_made(tokens=b.tokens(api_key="key-of-before")), False),
    (
        "tokens that the same key signed with this secret",
        b.a_match(),
        b.all_made(tokens=b.tokens(api_key="key", secret_digest="digest")),
        True,
    ),
    (
        "tokens that the same key signed with another secret",
        b.a_match(),
        b.all_made(tokens=b.tokens(api_key="key", secret_digest="digest of before")),
        False,
    ),
    ("no LiveKit room", b.a_match(), b.all_made(livekit_room=None), False),
    ("LiveKit room unknown", b.a_match(), b.all_made(livekit_room=b.unknown()), False),
    ("address not published", b.a_match(), b.all_made(ledger=b.ledger("Creating")), False),
    ("ledger unknown", b.a_match(), b.all_made(ledger=b.unknown()), False),
]


@pytest.mark.parametrize(("match", "seen", "ready"), [case[1:] for case in READY], ids=[c[0] for c in READY])
def test_ready_means_room_and_tokens_as_asked(match: Match, seen: MatchSeen, ready: bool) -> None:
    assert MatchCase(match, seen, b.at(2)).is_ready is ready


OVER: list[tuple[str, Match, MatchSeen, bool]] = [
    ("nothing left", b.a_match(), b.all_gone(), True),
    ("not settled", b.a_match(), b.all_gone(ledger=b.ledger("Terminating")), False),
    ("ledger unknown", b.a_match(), b.all_gone(ledger=b.unknown()), False),
    ("no ledger", b.a_match(), b.all_gone(ledger=None), False),
    ("Room still there", b.a_match(), b.all_gone(room=DYING_ROOM), False),
    ("Room unknown", b.a_match(), b.all_gone(room=b.unknown()), False),
    ("tokens still there", b.a_match(), b.all_gone(tokens=b.tokens()), False),
    ("tokens unknown", b.a_match(), b.all_gone(tokens=b.unknown()), False),
    ("tokens never wanted", b.a_match(tokens={"delivery": "None"}), b.all_gone(tokens=b.unknown()), True),
]


@pytest.mark.parametrize(("match", "seen", "over"), [case[1:] for case in OVER], ids=[c[0] for c in OVER])
def test_over_means_that_nothing_of_the_call_is_left(match: Match, seen: MatchSeen, over: bool) -> None:
    assert MatchCase(match, seen, b.T0).is_over is over


def test_a_room_deleted_before_ready_is_made_again_and_its_new_address_is_published() -> None:
    # The Room of the same name has another UID by now, so its LiveKit room has another name.
    published = b.all_made(ledger=b.ledger("Connecting", room="rk-old"), tokens=b.tokens(livekit_name="rk-old"))
    plan = plan_match(MatchCase(b.a_match(), replace(published, livekit_name="rk-new"), b.at(2)))
    assert names(plan) == ["IssueTokens", "Advance"]


def test_facts_outrank_deadlines_a_match_that_has_everything_is_not_too_late() -> None:
    # All was made in time, and only the status was not written, because the operator was down.
    assert names(plan_match(MatchCase(b.a_match(), b.all_made(40), b.at(40)))) == []


def test_a_cause_that_is_recorded_stays_whatever_comes_later() -> None:
    wished = b.active(deleted=True, termination=END)
    stored = b.both_in(ledger=b.ledger("Terminating", recorded="MaxDuration", message="7200 s"))
    settle = only(plan_match(MatchCase(wished, stored, b.at(9))), a.Settle)
    assert (settle.reason, settle.message) == ("MaxDuration", "7200 s")


def test_the_longer_another_match_holds_a_user_the_later_the_claim_is_repeated() -> None:
    """The holder may be a Match that is gone: nothing says when the user is released."""
    match = b.a_match(timeouts={"readySeconds": 3600})
    pauses = [
        (deadline - b.at(seconds)).total_seconds()
        for seconds in (0.5, 5, 20, 900)
        if (deadline := plan_match(MatchCase(match, b.seen(seconds, refusal=ENDING), b.at(seconds))).deadline)
    ]
    assert pauses == [0.1, 0.5, 2, 2]


def test_metadata_that_changed_is_given_to_the_room_and_no_more_often_than_that() -> None:
    match = b.active(room={"metadata": {"topic": "chess"}})
    update = only(plan_match(MatchCase(match, b.both_in(), b.at(9))), a.UpdateRoom)
    assert update.metadata == (("topic", "chess"),)
    changed = b.both_in(room=b.an_active_room(metadata={"topic": "chess"}))
    assert plan_match(MatchCase(match, changed, b.at(9))).actions == ()
    dying = b.both_in(room=DYING_ROOM)
    assert not [one for one in plan_match(MatchCase(match, dying, b.at(9))).actions if isinstance(one, a.UpdateRoom)]
