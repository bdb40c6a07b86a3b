"""The status of a Match: observation in, status out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.api.endings import EndCode
from controller.api.failures import ErrorType, LastError, Recovery, Severity
from controller.api.match import MAX_HISTORY, Evidence, Match, MatchStatus, TerminationAction
from controller.api.names import token_secret_name
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.facts.ledger import Cause, End, Ledger, Wish
from controller.facts.match import MatchSeen, Refusal
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from controller.status.patch import merge_patch
from tests import values as b

END = {"action": "End", "initiator": "alice"}
BUSY = Refusal(EndCode.USER_BUSY, "bob", "calls/other")
ENDING = Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True)
ENDED = {"phase": "Ended", "ended_at": b.at(60), "end": {"reason": "Ended", "initiator": "alice", "message": "over"}}
ALICE = (b.person("alice"),)
OUTAGE = LastError(
    type=ErrorType.LIVEKIT, severity=Severity.MEDIUM, recovery=Recovery.RETRY, message="no answer", at=b.at(2)
)


def status_of(match: Match, seen: MatchSeen, seconds: float = 4, error: LastError | None = None) -> MatchStatus:
    """Return the status at that second."""
    return match_status(MatchCase(match, seen, b.at(seconds)), error)


def condition(status: MatchStatus, type_: str) -> tuple[str, str, str]:
    """Return status, reason and message of one condition."""
    found = next(condition for condition in status.conditions if condition.type == type_)
    return str(found.status), found.reason, found.message


# Each case: a name, the observation, the expected phase.
PHASES: list[tuple[str, Match, MatchSeen, float, MatchPhase]] = [
    ("just seen", b.a_match(), b.seen(), 1, MatchPhase.PENDING),
    ("ledger unknown at first", b.a_match(), b.seen(ledger=b.unknown()), 1, MatchPhase.PENDING),
    ("refused for now", b.a_match(), b.seen(refusal=ENDING), 1, MatchPhase.PENDING),
    ("a ledger without users", b.a_match(), b.seen(ledger=b.ledger("", claimed=False)), 1, MatchPhase.PENDING),
    ("claimed", b.a_match(), b.seen(ledger=b.ledger()), 1, MatchPhase.CREATING),
    ("all but LiveKit", b.a_match(), b.all_made(livekit_room=None), 1, MatchPhase.CREATING),
    ("all made", b.a_match(), b.all_made(), 1, MatchPhase.CONNECTING),
    ("one came", b.connecting(), b.all_made(people=ALICE), 4, MatchPhase.CONNECTING),
    ("both came", b.connecting(), b.both_in(), 4, MatchPhase.ACTIVE),
    ("both came before it was said to be Ready", b.a_match(), b.both_in(), 4, MatchPhase.ACTIVE),
    ("one dropped", b.active(), b.both_in(people=ALICE), 9, MatchPhase.RECONNECTING),
    ("Redis away while up", b.active(), b.both_in(ledger=b.unknown()), 9, MatchPhase.ACTIVE),
    ("Redis away, and one dropped", b.active(), b.both_in(ledger=b.unknown(), people=ALICE), 9, MatchPhase.ACTIVE),
    ("Redis away, and both came", b.connecting(), b.both_in(ledger=b.unknown()), 4, MatchPhase.CONNECTING),
    (
        "Redis has lost the ledger",
        b.a_match(status={"phase": "Creating", "started_at": b.T0}),
        b.seen(),
        4,
        MatchPhase.CREATING,
    ),
    (
        "LiveKit away while up",
        b.active(),
        b.both_in(livekit_room=b.unknown(), people=b.unknown()),
        9,
        MatchPhase.ACTIVE,
    ),
    ("an end is wanted", b.active(termination=END), b.both_in(), 9, MatchPhase.TERMINATING),
    ("settled, room closing", b.active(termination=END), b.all_gone(room=b.a_room()), 9, MatchPhase.TERMINATING),
    ("over", b.active(termination=END), b.all_gone(), 9, MatchPhase.ENDED),
    ("over for want of users", b.a_match(), b.seen(ledger=b.ledger("", settled="Failed")), 9, MatchPhase.FAILED),
    ("over stays over, whatever is seen", b.active(status=ENDED), b.both_in(), 99, MatchPhase.ENDED),
    (
        "failed stays failed",
        b.a_match(status=b.OVER | {"phase": "Failed", "end": {"reason": "Failed"}}),
        b.seen(),
        9,
        MatchPhase.FAILED,
    ),
    ("refused for good, not settled yet", b.a_match(), b.seen(refusal=BUSY), 1, MatchPhase.TERMINATING),
]


@pytest.mark.parametrize("case", PHASES, ids=[case[0] for case in PHASES])
def test_the_phase_follows_from_what_is_seen(case: tuple[Any, ...]) -> None:
    _, match, seen, seconds, phase = case
    assert status_of(match, seen, seconds).phase is phase


T, F = "True", "False"
CONDITIONS: list[tuple[str, Match, MatchSeen, str, str, str, str]] = [
    ("not claimed", b.a_match(), b.seen(), "Accepted", F, "NotClaimed", "not claimed yet"),
    (
        "waiting for a holder",
        b.a_match(),
        b.seen(refusal=ENDING),
        "Accepted",
        F,
        "UserBusy",
        "bob is still in match calls/other",
    ),
    ("busy", b.a_match(), b.seen(refusal=BUSY), "Accepted", F, "UserBusy", "bob is in another match, calls/other"),
    ("claimed", b.a_match(), b.seen(ledger=b.ledger()), "Accepted", T, "UsersClaimed", "alice and bob"),
    ("claimed, and ending", b.active(termination=END), b.both_in(), "Accepted", T, "UsersClaimed", "alice and bob"),
    (
        "over, and never claimed",
        b.a_match(status={"phase": "Failed", "reason": "TooLate", "end": {"reason": "Failed"}}),
        b.seen(),
        "Accepted",
        F,
        "NotClaimed",
        "not claimed yet",
    ),
    ("no Room", b.a_match(), b.seen(ledger=b.ledger()), "RoomReady", F, "NoRoom", "no Room yet"),
    ("room missing", b.a_match(), b.all_made(livekit_room=None), "RoomReady", F, "RoomMissing", b.LIVEKIT_NAME),
    (
        "server away",
        b.a_match(),
        b.all_made(livekit_room=b.unknown(), trouble="no answer"),
        "RoomReady",
        F,
        "RoomMissing",
        "no answer",
    ),
    ("room there", b.a_match(), b.all_made(), "RoomReady", T, "RoomCreated", "is on default"),
    ("ending", b.active(termination=END), b.both_in(), "RoomReady", F, "Ended", "closed"),
    ("no tokens", b.a_match(), b.seen(ledger=b.ledger()), "TokensIssued", F, "NotIssued", "no tokens"),
    ("tokens", b.a_match(), b.all_made(), "TokensIssued", T, "TokensDelivered", token_secret_name(b.MATCH_UID)),
    (
        "tokens to Redis",
        b.a_match(tokens={"delivery": "Redis"}),
        b.all_made(),
        "TokensIssued",
        T,
        "TokensDelivered",
        f"tokens:{b.MATCH_UID}",
    ),
    (
        "tokens to both",
        b.a_match(tokens={"delivery": "Both"}),
        b.all_made(),
        "TokensIssued",
        T,
        "TokensDelivered",
        " and in Redis",
    ),
    (
        "no tokens wanted",
        b.a_match(tokens={"delivery": "None"}),
        b.all_made(tokens=None),
        "TokensIssued",
        T,
        "NotWanted",
        "its own",
    ),
    ("tokens, ending", b.active(termination=END), b.both_in(), "TokensIssued", F, "Ended", "deleted"),
    ("not ready", b.a_match(), b.all_made(livekit_room=None), "Ready", F, "Provisioning", "being made"),
    ("ready", b.a_match(), b.all_made(), "Ready", T, "Provisioned", b.ROOM_NAME),
    ("ready and lost", b.active(), b.both_in(livekit_room=None), "Ready", F, "RoomMissing", "restored"),
    ("no longer ready", b.active(termination=END), b.both_in(), "Ready", F, "Ended", "alice ended the call"),
    (
        "no participant came",
        b.connecting(),
        b.all_made(),
        "Connected",
        F,
        "WaitingForPeople",
        "waiting for alice and bob",
    ),
    ("one came", b.connecting(), b.all_made(people=ALICE), "Connected", F, "WaitingForPeople", "waiting for bob"),
    ("both came", b.connecting(), b.both_in(), "Connected", T, "BothConnected", "alice and bob"),
    ("one dropped", b.active(), b.both_in(people=ALICE), "Connected", F, "ConnectionLost", "bob dropped out"),
    (
        "one dropped, Redis away",
        b.active(),
        b.both_in(ledger=b.unknown(), people=ALICE),
        "Connected",
        F,
        "ConnectionLost",
        "bob dropped out",
    ),
    ("call over", b.active(termination=END), b.both_in(), "Connected", F, "Ended", "over"),
    ("all answer", b.active(), b.both_in(), "Degraded", F, "AllBackendsAnswer", "answer"),
    (
        "LiveKit away",
        b.active(),
        b.both_in(trouble="LiveKit is away"),
        "Degraded",
        T,
        "BackendUnreachable",
        "LiveKit is away; nothing is decided",
    ),
    (
        "Redis away",
        b.active(),
        b.both_in(ledger=b.unknown(why="Redis is away")),
        "Degraded",
        T,
        "BackendUnreachable",
        "Redis is away",
    ),
    ("going on", b.active(), b.both_in(), "Finished", F, "InProgress", "not over"),
    ("ending is not over", b.active(termination=END), b.both_in(), "Finished", F, "InProgress", "not over"),
    ("over", b.active(termination=END), b.all_gone(), "Finished", T, "Ended", ""),
]


@pytest.mark.parametrize("case", CONDITIONS, ids=[f"{case[3]}: {case[0]}" for case in CONDITIONS])
def test_each_condition_says_why(case: tuple[Any, ...]) -> None:
    _, match, seen, type_, status, reason, words = case
    found = condition(status_of(match, seen), type_)
    assert found[:2] == (status, reason)
    assert words in found[2]


def test_the_conditions_are_in_the_order_of_the_table_and_speak_of_the_present_generation() -> None:
    always = ["Accepted", "RoomReady", "TokensIssued", "Connected", "Degraded", "Finished"]
    for match, seen, added in (
        (b.a_match(generation=3), b.seen(), {3: "Ready", 7: "Reconciling"}),
        (b.active(generation=3), b.both_in(), {3: "Ready"}),
        (b.active(generation=3), b.all_gone(), dict[int, str]()),
    ):
        status = status_of(match, seen)
        expected = list(always)
        for place, type_ in added.items():
            expected.insert(place, type_)
        assert [c.type for c in status.conditions] == expected
        assert {c.observed_generation for c in status.conditions} == {3}
        assert status.observed_generation == 3


# Every state in which the operator only waits.
RESTING: list[tuple[str, Match, MatchSeen]] = [
    ("waiting for a holder", b.a_match(), b.seen(refusal=ENDING)),
    ("Redis away", b.a_match(), b.seen(ledger=b.unknown())),
    ("making the room", b.a_match(), b.all_made(livekit_room=None)),
    ("waiting for people", b.connecting(), b.all_made()),
    ("signaling", b.connecting(), b.all_made(people=(b.person("alice", state="JOINED"),))),
    ("up", b.active(), b.both_in()),
    ("one dropped", b.active(), b.both_in(people=ALICE)),
    ("LiveKit away", b.active(), b.both_in(livekit_room=b.unknown(), people=b.unknown(), trouble="no answer")),
    ("room lost", b.active(), b.both_in(livekit_room=None, people=())),
    ("ending", b.active(termination=END), b.both_in(ledger=b.ledger("Terminating"))),
    ("over", b.active(termination=END), b.all_gone()),
    ("refused", b.a_match(), b.seen(refusal=BUSY)),
]  # fmt: skip


def later(seen: MatchSeen, seconds: float) -> MatchSeen:
    """Return the same observation, made again at that second."""
    fields = ("ledger", "room", "livekit_room", "people", "tokens")
    return replace(seen, **{name: replace(getattr(seen, name), at=b.at(seconds)) for name in fields})


@pytest.mark.parametrize(("match", "seen"), [case[1:] for case in RESTING], ids=[case[0] for case in RESTING])
def test_nothing_is_written_because_time_passed(match: Match, seen: MatchSeen) -> None:
    for seconds in (5.1, 7.2, 18.9):
        status = status_of(match, later(seen, seconds), seconds)
        if seconds > 5.1:
            assert merge_patch(match.status.manifest(), status.manifest()) == {}
        match = match.model_copy(update={"status": status})


def test_moments_are_written_once_and_stay() -> None:
    up = status_of(b.a_match(), b.both_in(), 4)
    assert (up.started_at, up.ready_at, up.connected_at, up.ended_at) == (b.at(4), b.at(4), b.at(4), None)
    again = status_of(b.active(), b.both_in(), 9)
    assert (again.started_at, again.ready_at, again.connected_at) == (b.T0, b.at(1), b.at(3))
    over = status_of(b.active(termination=END), b.all_gone(), 60)
    assert over.ended_at == b.at(60)
    assert status_of(b.active(status=ENDED), b.all_gone(), 99).ended_at == b.at(60)


def test_nothing_began_before_the_users_were_claimed() -> None:
    status = status_of(b.a_match(), b.seen())
    assert (status.started_at, status.ready_at, status.connected_at) == (None, None, None)


def test_a_match_that_is_ending_does_not_become_ready_or_connected() -> None:
    status = status_of(b.a_match(termination=END), b.both_in())
    assert (status.ready_at, status.connected_at) == (None, None)
    assert status_of(b.connecting(termination=END), b.both_in()).connected_at is None


def test_the_two_have_not_met_in_a_room_that_is_not_ready() -> None:
    status = status_of(b.a_match(), b.both_in(tokens=None))
    assert (status.ready_at, status.connected_at) == (None, None)
    assert condition(status, "Connected")[:2] == ("False", "WaitingForPeople")


def test_moments_are_cut_to_milliseconds_so_that_they_read_back_the_same() -> None:
    status = match_status(MatchCase(b.a_match(), b.all_made(), b.at(4.1234567)), None)
    assert MatchStatus.model_validate(status.manifest()) == status
    assert status.ready_at == b.at(4.123)


@pytest.mark.parametrize(
    ("match", "seen", "reason"),
    [
        (b.active(), b.both_in(), None),
        (b.active(termination=END), b.both_in(), "Ended"),
        (b.a_match(), b.seen(refusal=BUSY), "UserBusy"),
        (b.a_match(status={"phase": "Pending"}), b.seen(30), "TooLate"),
        (b.active(), b.both_in(people=ALICE), "ConnectionLost"),
        (
            b.active(),
            b.both_in(
                people=ALICE, ledger=b.ledger("Active", last={"bob": b.event("left", 9, reason="CLIENT_INITIATED")})
            ),
            "Left",
        ),
    ],
)
def test_the_reason_for_the_column(match: Match, seen: MatchSeen, reason: str | None) -> None:
    assert status_of(match, seen, 30).reason == reason


@pytest.mark.parametrize(
    ("seen", "connected"),
    [(b.all_made(), "0/2"), (b.all_made(people=ALICE), "1/2"), (b.both_in(), "2/2")],
)
def test_how_many_are_in(seen: MatchSeen, connected: str) -> None:
    assert status_of(b.connecting(), seen).connected == connected


def test_no_participant_is_in_a_match_that_is_over() -> None:
    seen = b.all_gone(people=b.both_in().people)
    assert status_of(b.active(termination=END), seen).connected == "0/2"


def test_participants_say_since_when_and_by_whom() -> None:
    joined = b.all_made(
        people=ALICE, ledger=b.ledger("Connecting", last={"alice": b.event("joined", 3, sid="PA_alice")})
    )
    alice, bob = status_of(b.connecting(), joined).participants
    assert (alice.state, alice.since, alice.evidence, alice.connected_at) == ("Connected", b.at(3), "webhook", b.at(3))
    assert (alice.participant_sid, bob.state, bob.since, bob.connected_at) == ("PA_alice", "Invited", b.T0, None)


def test_since_moves_only_with_the_state() -> None:
    alice = status_of(b.active(), b.both_in(30), 30).participants[0]
    assert (alice.since, alice.connected_at) == (b.at(3), b.at(3))


def test_a_participant_who_drops_out_is_reconnecting_in_a_call_and_left_in_an_ended_one() -> None:
    dropped = b.both_in(9, people=ALICE)
    assert status_of(b.active(), dropped).participants[1].connected_at == b.at(3)
    assert status_of(b.active(), dropped).participants[1].state == "Reconnecting"
    assert status_of(b.active(termination=END), dropped).participants[1].state == "Left"


def test_a_participant_who_leaves_before_both_met_has_left() -> None:
    seen = b.all_made(ledger=b.ledger("Connecting", last={"alice": b.event("left", 3)}))
    assert status_of(b.connecting(), seen).participants[0].state == "Left"


def test_the_status_keeps_the_place_in_the_queue_so_that_a_lost_redis_can_be_rebuilt() -> None:
    claimed = b.all_made(ledger=b.ledger(queued={"alice": b.ms(-20), "bob": None}))
    status = status_of(b.a_match(), claimed)
    assert [p.queued_at for p in status.participants] == [b.at(-20), None]
    kept = status_of(b.a_match(status={"participants": status.manifest()["participants"]}), b.seen(ledger=b.unknown()))
    assert kept.participants[0].queued_at == b.at(-20)


def test_room_and_tokens_are_named() -> None:
    status = status_of(b.a_match(), b.all_made())
    assert status.room is not None
    assert (status.room.name, status.room.livekit_name) == (b.ROOM_NAME, b.LIVEKIT_NAME)
    assert (status.room.sid, status.room.server, status.room.url) == ("RM_1", "default", b.URL)
    assert status.tokens is not None
    assert (status.tokens.secret_name, status.tokens.expires_at) == (token_secret_name(b.MATCH_UID), b.at(900))


def test_tokens_in_redis_name_no_secret() -> None:
    tokens = status_of(b.a_match(tokens={"delivery": "Redis"}), b.all_made()).tokens
    assert tokens is not None
    assert tokens.secret_name is None


def test_the_status_keeps_what_it_knew_of_a_room_that_is_gone() -> None:
    status = status_of(b.a_match(), b.all_made())
    after = b.a_match(status={"room": status.manifest()["room"]})
    assert status_of(after, b.all_gone()).room == status.room
    assert status_of(after, b.all_made(livekit_room=None)).room == status.room


def test_tokens_are_not_shown_once_it_ends() -> None:
    assert status_of(b.active(termination=END), b.both_in()).tokens is None


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
    ("people", "last", "words"),
    [
        (ALICE, {}, "bob dropped out (poll: not listed any more); the match ends at 10:00:24 UTC unless bob is back"),
        (
            ALICE,
            {"bob": b.event("left", 4, reason="CLIENT_INITIATED")},
            "bob dropped out (webhook: CLIENT_INITIATED); the match ends at 10:00:12 UTC unless bob is back",
        ),
        ((*ALICE, b.person("bob", state="JOINED")), {}, "bob dropped out (poll: left)"),
    ],
    ids=["lost", "said goodbye, and we heard of it late", "on the way back"],
)
def test_the_condition_says_until_when_a_missing_participant_is_waited_for(people: Any, last: Any, words: str) -> None:
    status = status_of(b.active(), b.both_in(9, people=people, ledger=b.ledger("Active", last=last)), 9)
    assert condition(status, "Connected")[2] == words


def test_the_status_says_exactly_where_the_tokens_are() -> None:
    assert "Redis" not in condition(status_of(b.a_match(), b.all_made()), "TokensIssued")[2]
    assert (
        "secret" not in condition(status_of(b.a_match(tokens={"delivery": "Redis"}), b.all_made()), "TokensIssued")[2]
    )


@pytest.mark.parametrize(
    ("before", "error", "expected"),
    [
        (None, None, None),
        (None, OUTAGE, OUTAGE),
        (OUTAGE, None, OUTAGE),
        (OUTAGE, OUTAGE.model_copy(update={"message": "again", "at": b.at(9)}), OUTAGE),
        (
            OUTAGE,
            OUTAGE.model_copy(update={"type": ErrorType.REDIS}),
            OUTAGE.model_copy(update={"type": ErrorType.REDIS}),
        ),
    ],
)
def test_the_last_error_changes_with_its_type_only(
    before: LastError | None, error: LastError | None, expected: LastError | None
) -> None:
    match = b.active(status={"last_error": before})
    assert status_of(match, b.both_in(), error=error).last_error == expected


def test_a_step_that_keeps_failing_makes_the_match_degraded_although_all_backends_answer() -> None:
    fresh, failed_before = b.active(), b.active(status={"last_error": OUTAGE})
    assert condition(status_of(fresh, b.both_in(), error=OUTAGE), "Degraded")[0] == F
    assert condition(status_of(failed_before, b.both_in(), error=OUTAGE), "Degraded") == (
        T,
        "BackendUnreachable",
        "no answer; it is tried again until it succeeds",
    )
    assert condition(status_of(failed_before, b.both_in()), "Degraded")[0] == F


def test_the_status_shows_an_error_that_prevents_the_claim() -> None:
    status = status_of(b.a_match(), b.seen(), error=OUTAGE)
    assert condition(status, "Accepted") == ("False", "NotClaimed", "no answer")


@pytest.mark.parametrize(
    ("identities", "summary"),
    [
        (("alice", "bob"), "alice, bob"),
        (("a" * 29, "b" * 29), "a" * 29 + ", " + "b" * 29),
        (("a" * 30, "b" * 29), "a" * 30 + ", " + "b" * 27 + "…"),
        (("a" * 80, "bob"), "a" * 59 + "…"),
    ],
)
def test_the_summary_of_the_participants_fits_a_column(identities: tuple[str, str], summary: str) -> None:
    match = b.a_match(participants=[{"identity": identity} for identity in identities])
    found = status_of(match, b.seen()).participants_summary
    assert found == summary
    assert len(found) <= 60


def test_the_session_has_an_id_even_if_the_spec_names_none() -> None:
    assert status_of(b.a_match(), b.seen()).session_id == b.MATCH_UID
    assert status_of(b.a_match(session_id="s-9"), b.seen()).session_id == "s-9"


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


def test_tokens_that_cannot_be_renewed_do_not_make_a_lost_room() -> None:
    # The room is there; only the tokens run out while the API server is away.
    status = status_of(b.active(), b.both_in(700, people=ALICE), 700, error=OUTAGE)
    assert condition(status, "Ready")[:2] == ("False", "TokensDue")
    assert "room was lost" not in condition(status, "Ready")[2]


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


# An event in a phase, and the phase after it: (phase, match, seen, next phase).
ARROWS: list[tuple[str, Match, MatchSeen, str]] = [
    ("Pending", b.a_match(), b.seen(ledger=b.ledger()), "Creating"),
    ("Pending", b.a_match(), b.seen(ledger=b.ledger("", claimed=False, settled="Failed"), refusal=BUSY), "Failed"),
    ("Pending", b.a_match(termination=END), b.seen(), "Terminating"),
    ("Creating", b.a_match(), b.all_made(), "Connecting"),
    ("Creating", b.a_match(), b.seen(ledger=b.ledger(settled="Failed")), "Failed"),
    ("Creating", b.a_match(deleted=True), b.seen(ledger=b.ledger()), "Terminating"),
    ("Connecting", b.connecting(), b.both_in(), "Active"),
    ("Connecting", b.connecting(), b.all_made(26), "Terminating"),
    ("Active", b.active(), b.both_in(people=ALICE), "Reconnecting"),
    ("Active", b.active(termination=END), b.both_in(), "Terminating"),
    ("Reconnecting", b.active(), b.both_in(), "Active"),
    ("Reconnecting", b.active(deleted=True), b.both_in(people=ALICE), "Terminating"),
    ("Terminating", b.active(), b.all_gone(), "Ended"),
    ("Terminating", b.a_match(), b.all_gone(ledger=b.ledger(settled="Failed")), "Failed"),
]


@pytest.mark.parametrize(("start", "match", "seen", "to"), ARROWS, ids=[f"{case[0]} → {case[3]}" for case in ARROWS])
def test_a_match_goes_the_ways_of_the_table(start: str, match: Match, seen: MatchSeen, to: str) -> None:
    status = match.status.model_copy(update={"phase": MatchPhase(start)})
    after = status_of(match.model_copy(update={"status": status}), seen, 26)
    assert (after.phase, after.history[-1].phase) == (to, to)


def test_the_table_has_these_ways_and_no_others() -> None:
    ways = {(stage.name, way.to) for stage in MATCH_PHASES.values() for way in stage.exits}
    assert ways == {(MatchPhase(start), MatchPhase(to)) for start, _, _, to in ARROWS}


def both_gone(seconds: float, alice: str, bob: str) -> MatchSeen:
    """Return a call in which both have dropped out, alice at second 6 and bob at second 7."""
    last = {"alice": b.event("left", 6, reason=alice), "bob": b.event("left", 7, reason=bob)}
    return b.both_in(seconds, people=(), ledger=b.ledger("Active", last=last))


@pytest.mark.parametrize(
    ("bob", "reason", "until"),
    [("CLIENT_INITIATED", "Left", "10:00:12"), ("SIGNAL_CLOSE", "ConnectionLost", "10:00:12")],
)
def test_the_status_names_both_who_dropped_out_and_the_earlier_deadline(bob: str, reason: str, until: str) -> None:
    status = status_of(b.active(), both_gone(9, "CLIENT_INITIATED", bob), 9)
    assert status.reason == reason
    assert f"the match ends at {until} UTC unless alice and bob is back" in condition(status, "Connected")[2]
    assert status.history[-1].message == f"alice: CLIENT_INITIATED, seen by webhook; bob: {bob}, seen by webhook"


def test_history_says_that_a_participant_on_the_way_back_has_left() -> None:
    people = (*ALICE, b.person("bob", state="JOINED"))
    assert status_of(b.active(), b.both_in(9, people=people), 9).history[-1].message == "bob: left, seen by poll"


def test_a_late_notice_moves_the_stated_moment_once_and_for_all() -> None:
    # LiveKit's word was late: bob was lost at second 5, and that was noticed at second 60.
    ledger = b.ledger("Active", last={"bob": b.event("left", 5, sid="PA_bob", reason="SIGNAL_CLOSE")})
    match = b.active()
    for seconds in (60, 62):
        status = status_of(match, b.both_in(seconds, people=ALICE, ledger=ledger), seconds)
        assert "the match ends at 10:01:05 UTC" in condition(status, "Connected")[2]
        match = match.model_copy(update={"status": status})


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


def test_a_match_that_claimed_no_user_does_not_speak_of_a_room_or_tokens() -> None:
    refusal = Refusal(EndCode.USER_BLOCKED, "bob")
    match = b.a_match()
    over = status_of(match, b.seen(ledger=b.ledger("", claimed=False, settled="Failed"), refusal=refusal), 2)
    told = {condition.type: condition.message for condition in over.conditions}
    assert (told["RoomReady"], told["TokensIssued"], told["Connected"]) == (
        "no room was made",
        "no tokens were issued",
        "the two have not met",
    )


def test_a_refusal_says_that_no_user_was_claimed() -> None:
    told = status_of(b.a_match(), b.seen(refusal=Refusal(EndCode.USER_BLOCKED, "bob")), 2)
    assert condition(told, "Accepted")[2].endswith("No user was claimed, and both are where they were before")
