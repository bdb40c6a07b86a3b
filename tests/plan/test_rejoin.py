"""A room that LiveKit lost is there again: those who are not in it are told, once, whatever happens in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.api.match import Match
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.facts.ledger import Ledger
from controller.facts.match import MatchSeen
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import names, only
from tests.status.looks import status_of

ROOM = {"name": b.ROOM_NAME, "liveKitName": b.LIVEKIT_NAME, "sid": "RM_1", "server": "default", "url": b.URL}
UP, READY = b.active(status={"room": ROOM}), b.connecting(status={"room": ROOM})
AGAIN = b.a_livekit_room(sid="RM_2")
ALICE = (b.person("alice", sid="PA_alice_2"),)


def lost(seconds: float = 9, *, ledger: Ledger | None = None, **changes: Any) -> MatchSeen:
    """The room was made again, and no participant is in it yet."""
    known = b.ledger("Active") if ledger is None else ledger
    return b.both_in(seconds, **{"livekit_room": AGAIN, "people": (), "ledger": known, **changes})


def told(match: Match, seen: MatchSeen, seconds: float = 9) -> a.Advance:
    advance: a.Advance = only(plan_match(MatchCase(match, seen, b.at(seconds))), a.Advance)
    return advance


def test_both_are_called_back_and_the_call_is_interrupted_in_one_step() -> None:
    advance = told(UP, lost())
    assert (advance.restored, advance.phase, [who for who, _ in advance.missing]) == (
        "RM_2",
        MatchPhase.RECONNECTING,
        ["alice", "bob"],
    )


def test_a_user_who_is_back_already_is_not_called_back() -> None:
    advance = told(UP, lost(people=ALICE))
    assert (advance.restored, advance.alone, [who for who, _ in advance.missing]) == ("RM_2", True, ["bob"])


def test_before_both_have_met_they_are_called_too() -> None:
    advance = told(READY, lost(ledger=b.ledger("Connecting")), 2)
    assert (advance.restored, advance.phase, advance.state) == ("RM_2", MatchPhase.CONNECTING, UserState.CONNECTING)
    assert [who for who, _ in advance.missing] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("match", "seen"),
    [
        (UP, b.both_in(9)),
        (UP, lost(ledger=replace(b.ledger("Reconnecting"), rejoined="RM_2"))),
        (UP, lost(ledger=b.ledger("Reconnecting"), livekit_room=None)),
        (UP, lost(ledger=b.ledger("Reconnecting"), livekit_room=b.unknown())),
        (UP, lost(ledger=b.ledger("Reconnecting"), people=b.unknown())),
        (b.active(), lost(ledger=b.ledger("Reconnecting"))),
        (b.a_match(status={"room": ROOM}), lost(2, ledger=b.ledger("Connecting"))),
    ],
    ids=[
        "the same room",
        "told already",
        "not there yet",
        "not known whether it is there",
        "not known who is in it",
        "the first room",
        "no user was called yet",
    ],
)
def test_no_user_is_called_back_otherwise(match: Match, seen: MatchSeen) -> None:
    plan = plan_match(MatchCase(match, seen, b.at(9)))
    assert not [action for action in plan.actions if isinstance(action, a.Advance) and action.restored], names(plan)


def test_the_status_shows_the_new_room_once_the_users_were_told() -> None:
    """So an operator that dies in between, or that Redis does not answer, tells them later."""
    for ledger in (b.ledger("Reconnecting"), b.unknown()):
        before = status_of(UP, replace(lost(), ledger=b._observed(ledger, 9)), 9)
        assert before.room is not None
        assert before.room.sid == "RM_1"
    after = status_of(UP, lost(ledger=replace(b.ledger("Reconnecting"), rejoined="RM_2")), 9)
    assert after.room is not None
    assert after.room.sid == "RM_2"
    first = status_of(b.active(), lost(), 9)
    assert first.room is not None
    assert first.room.sid == "RM_2"


def test_a_second_loss_is_told_even_if_no_status_was_written_in_between() -> None:
    advance = told(
        UP, lost(ledger=replace(b.ledger("Reconnecting"), rejoined="RM_2"), livekit_room=b.a_livekit_room(sid="RM_3"))
    )
    assert advance.restored == "RM_3"
