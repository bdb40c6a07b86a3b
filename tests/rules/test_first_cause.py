"""Two causes at once: the first one in the list counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.match import Match, TerminationAction
from controller.facts.ledger import Cause, End, Wish
from controller.facts.match import AuditFacts, MatchSeen
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.rules.looks import BOB_RECONNECTS, BUSY, bob_is_gone, wish

SKIP_SIGNAL = Wish(TerminationAction.SKIP, "alice", via="signal")
BOB_IS_STRAY = AuditFacts(taken_away=frozenset({"bob"}))


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
