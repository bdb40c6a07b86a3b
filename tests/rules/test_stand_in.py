"""The deletion of an object that cannot be read is finished from its metadata and from what the ledger says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.api.endings import EndReason
from controller.api.match import Match
from controller.facts.ledger import Destination, Ledger, Release
from controller.facts.observation import value_of
from controller.facts.unreadable import Unreadable
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.rules.stand_in import stand_in_match, stand_in_room
from tests import values as b
from tests.plan.world import only

FOUND = Unreadable(b.a_match(deleted=True).metadata, "spec: it cannot be read")
QUEUED = {"alice": b.ms(-20), "bob": None}


def case(ledger: Ledger | None, **seen: Any) -> MatchCase:
    """A look at the stand-in of the Match."""
    return MatchCase(stand_in_match(FOUND, ledger), b.all_made(100, ledger=ledger, **seen), b.at(100))


def test_a_call_ends_for_its_deletion_and_both_users_are_settled() -> None:
    call = case(b.ledger("Active", queued=QUEUED), people=())
    record = only(plan_match(call), a.RecordEnd)
    assert (record.reason, record.target.uid) == (EndReason.DELETED, b.MATCH_UID)
    ended = b.ledger("Terminating", recorded="Deleted", queued=QUEUED)
    settle = only(plan_match(case(ended)), a.Settle)
    assert [(one.id, one.to) for one in settle.releases] == [
        ("alice", Destination.WAITING),
        ("bob", Destination.WAITING),
    ]


def test_a_match_that_was_never_ready_is_rolled_back() -> None:
    settle = only(plan_match(case(b.ledger("Creating", queued=QUEUED))), a.Settle)
    assert settle.releases == (Release("alice", Destination.BACK), Release("bob", Destination.BACK))


@pytest.mark.parametrize("users", [(), ("alice",), ("alice", "bob", "carol")])
def test_all_users_of_the_ledger_are_settled_whatever_their_number(users: tuple[str, ...]) -> None:
    ledger = replace(b.ledger("Creating"), queued_at_ms=dict.fromkeys(users))
    settle = only(plan_match(case(ledger)), a.Settle)
    assert tuple(one.id for one in settle.releases) == users


def test_a_match_without_a_ledger_leaves_a_tombstone_that_refuses_a_late_claim() -> None:
    settle = only(plan_match(case(None)), a.Settle)
    assert (settle.releases, settle.reason) == ((), EndReason.DELETED)


def test_room_and_tokens_go_before_the_finalizer_does() -> None:
    settled = b.ledger("Terminating", settled="Deleted")
    actions = plan_match(case(settled, tokens=b.unknown())).actions
    assert {type(action) for action in actions} == {a.DeleteRoom, a.RevokeTokens}
    gone = MatchCase(stand_in_match(FOUND, settled), b.all_gone(100, ledger=settled), b.at(100))
    only(plan_match(gone), a.ReleaseFinalizer)


def test_a_ledger_that_cannot_be_read_stops_everything() -> None:
    found = MatchCase(stand_in_match(FOUND, None), b.all_made(100, ledger=b.unknown()), b.at(100))
    assert value_of(found.seen.ledger) is None
    assert plan_match(found).actions == ()


def test_a_paused_object_stays_paused() -> None:
    found = Unreadable(b.a_match(deleted=True, paused=True).metadata, "-")
    assert plan_match(MatchCase(stand_in_match(found, b.ledger()), b.all_made(100), b.at(100))).frozen


def test_the_room_is_closed_on_livekit_by_its_name_and_then_released() -> None:
    room = stand_in_room(Unreadable(b.a_room(deleted=True).metadata, "-"))
    seen = b.room_seen(100, livekit_room=b.a_livekit_room())
    delete = only(plan_room(RoomCase(room, seen, b.at(100))), a.DeleteLiveKitRoom)
    assert delete.request.name == b.LIVEKIT_NAME
    seen = b.room_seen(100, gone=True, record=b.a_record("terminated"))
    only(plan_room(RoomCase(room, seen, b.at(100))), a.ReleaseFinalizer)


def test_the_room_of_another_is_left_alone() -> None:
    room = stand_in_room(Unreadable(b.a_room(deleted=True).metadata, "-"))
    seen = b.room_seen(100, livekit_room=b.a_livekit_room(mark=b.a_mark(room_uid="another")))
    assert not any(isinstance(one, a.DeleteLiveKitRoom) for one in plan_room(RoomCase(room, seen, b.at(100))).actions)


def test_the_session_of_the_ledger_is_the_session_of_the_stand_in() -> None:
    stands_in: Match = stand_in_match(FOUND, replace(b.ledger("Active"), session_id="s-9"))
    assert stands_in.spec.session_id == "s-9"
