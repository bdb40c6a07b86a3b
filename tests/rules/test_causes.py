"""Why a Match ends: one case for each cause, what it says, and that it reads back as it was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.api.endings import EndCode, EndReason
from controller.api.match import Match
from controller.facts.match import MatchSeen, Refusal
from controller.facts.observation import Present
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.rules.looks import ALICE, BUSY, DYING_ROOM, GIVEN_UP_ROOM, OVER_ROOM, wish

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
