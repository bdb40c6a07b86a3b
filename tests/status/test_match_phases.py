"""The phases of a Match: which one follows from what is seen, and the ways from one to another."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.match import Match
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.facts.match import MatchSeen
from tests import values as b
from tests.status.looks import ALICE, BUSY, END, ENDED, ENDING, status_of

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
