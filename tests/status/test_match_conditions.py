"""The conditions of a Match: what each one says, and why."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.endings import EndCode
from controller.api.match import Match
from controller.api.names import token_secret_name
from controller.facts.match import MatchSeen, Refusal
from tests import values as b
from tests.status.looks import ALICE, BUSY, END, ENDING, FAILED_BEFORE, OUTAGE, both_gone, condition, status_of

T, F, U = "True", "False", "Unknown"
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
        "no user was claimed before the Match was over",
    ),
    ("no Room", b.a_match(), b.seen(ledger=b.ledger()), "RoomReady", F, "NoRoom", "no Room yet"),
    ("room missing", b.a_match(), b.all_made(livekit_room=None), "RoomReady", F, "RoomMissing", b.LIVEKIT_NAME),
    (
        "server away",
        b.a_match(),
        b.all_made(livekit_room=b.unknown(), trouble="no answer"),
        "RoomReady",
        U,
        "NotKnown",
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
    ("call over", b.active(termination=END), b.both_in(), "Connected", F, "Ended", "alice and bob met at 10:00:03 UTC"),
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


def test_tokens_that_cannot_be_renewed_do_not_make_a_lost_room() -> None:
    # The room is there; only the tokens run out while the API server is away.
    status = status_of(b.active(), b.both_in(700, people=ALICE), 700, error=OUTAGE)
    assert condition(status, "Ready")[:2] == ("False", "TokensDue")
    assert "room was lost" not in condition(status, "Ready")[2]


@pytest.mark.parametrize(
    ("bob", "reason", "until"),
    [("CLIENT_INITIATED", "Left", "10:00:12"), ("SIGNAL_CLOSE", "ConnectionLost", "10:00:12")],
)
def test_the_status_names_both_who_dropped_out_and_the_earlier_deadline(bob: str, reason: str, until: str) -> None:
    status = status_of(b.active(), both_gone(9, "CLIENT_INITIATED", bob), 9)
    assert status.reason == reason
    assert f"the match ends at {until} UTC unless alice and bob is back" in condition(status, "Connected")[2]
    assert status.history[-1].message == f"alice: CLIENT_INITIATED, seen by webhook; bob: {bob}, seen by webhook"


def test_a_match_that_claimed_no_user_does_not_speak_of_a_room_or_tokens() -> None:
    refusal = Refusal(EndCode.USER_BLOCKED, "bob")
    match = b.a_match()
    over = status_of(match, b.seen(ledger=b.ledger("", claimed=False, settled="Failed"), refusal=refusal), 2)
    told = {condition.type: condition.message for condition in over.conditions}
    assert (told["RoomReady"], told["TokensIssued"], told["Connected"]) == (
        "no room was made",
        "no tokens were issued",
        "alice and bob have not met",
    )


def test_a_refusal_says_that_no_user_was_claimed() -> None:
    told = status_of(b.a_match(), b.seen(refusal=Refusal(EndCode.USER_BLOCKED, "bob")), 2)
    assert condition(told, "Accepted")[2].endswith("No user was claimed, and both are where they were before")


def test_a_step_that_keeps_failing_makes_the_match_degraded_although_all_backends_answer() -> None:
    fresh, failed_before = b.active(), b.active(status=FAILED_BEFORE)
    assert condition(status_of(fresh, b.both_in(), error=OUTAGE), "Degraded") == (
        F,
        "Retrying",
        "no answer; it is tried again until it succeeds",
    )
    assert condition(status_of(failed_before, b.both_in(), error=OUTAGE), "Degraded") == (
        T,
        "BackendRefuses",
        "no answer; it is tried again until it succeeds",
    )
    assert condition(status_of(failed_before, b.both_in()), "Degraded")[0] == F
    solved = b.active(status={"last_error": OUTAGE})
    assert condition(status_of(solved, b.both_in(), error=OUTAGE), "Degraded")[:2] == (F, "Retrying")


def test_before_livekit_has_listed_its_rooms_no_condition_says_that_it_answers() -> None:
    """After a change of the leader, for example: the first LIST may take some seconds."""
    why = "LiveKit's rooms have not been listed yet"
    told = status_of(b.active(), b.both_in(livekit_room=b.unknown(why=why), people=b.unknown(why=why)))
    for type_ in ("RoomReady", "Ready", "Connected", "Degraded"):
        sign, reason, message = condition(told, type_)
        assert (sign, reason) == (U, "NotKnown"), type_
        assert message.startswith(why)
    failing = status_of(b.active(), b.both_in(livekit_room=b.unknown(why=why)), error=OUTAGE)
    assert condition(failing, "Degraded")[:2] == (F, "Retrying")
