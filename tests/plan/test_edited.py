"""Another client edits the status of a Match or of a Room: the edit is corrected, or believed with all that follows.

Each edit is made on a model of the world (`world.World`) while the operator runs, and while it is down. Whatever was
edited, the next ending leaves nothing behind, and each user is released once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from controller.api.phases import MatchPhase, RoomPhase
from tests import values as b
from tests.plan.test_life import came_up, is_clean
from tests.plan.world import World

FAR, LONG_AGO, THEN = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2026-01-31T10:00:04Z"
LEFT = {"identity": "alice", "state": "Left", "since": LONG_AGO, "detail": "CLIENT_INITIATED"}
NO_CONDITION = {"type": "Finished", "status": "True", "reason": "Ended", "lastTransitionTime": THEN}
Edit = dict[str, Any] | None

CORRECTED: tuple[Edit, ...] = (
    *({"phase": phase.value} for phase in MatchPhase if phase is not MatchPhase.ACTIVE),
    {"phase": None},
    *({name: value} for name in ("startedAt", "readyAt", "connectedAt") for value in (None, FAR)),
    {"endedAt": THEN},
    {"phase": "Ended", "endedAt": THEN},
    {"phase": "Failed", "endedAt": FAR, "conditions": [NO_CONDITION]},
    {"startedAt": None, "readyAt": None, "connectedAt": None},
    {"participants": []},
    {"participants": None},
    {"participants": [LEFT]},
    {"participants": [LEFT | {"since": FAR, "state": "Reconnecting"}]},
    {"room": None},
    {"room": {"name": "other", "liveKitName": "rk-other", "sid": "RM_x", "server": "nowhere", "url": "wss://other"}},
    {"tokens": None},
    {"tokens": {"secretName": "other", "expiresAt": FAR, "apiKey": "other"}},
    {"conditions": []},
    {"conditions": [NO_CONDITION]},
    {"history": []},
    {"reason": "Left", "sessionID": "other", "connected": "0/2", "participantsSummary": "-", "observedGeneration": 99},
    None,
)  # fmt: skip
"""Edits of a call that goes on."""

BELIEVED: tuple[tuple[Edit, str], ...] = (
    ({"end": {"reason": "Left"}}, "Left"),
    ({"phase": "Ended", "end": {"reason": "Ended"}}, "Ended"),
    ({"end": {"reason": "Skipped"}, "endedAt": THEN}, "Skipped"),
    ({"phase": "Ended", "end": {"reason": "Ended"}, "endedAt": THEN}, "Ended"),
    ({"connectedAt": LONG_AGO}, "MaxDuration"),
)
"""Edits that end a call, and the reason of its end."""

OF_ROOM: tuple[Edit, ...] = (
    *({"phase": phase.value} for phase in RoomPhase if phase is not RoomPhase.ACTIVE),
    {"phase": None},
    *({name: value} for name in ("createdAt", "emptySince", "lostAt", "terminatedAt") for value in (None, FAR)),
    {"terminatedAt": THEN},
    {"restoredAt": [FAR] * 5, "restores": 5},
    {"sid": None},
    {"sid": "RM_x"},
    {"liveKitName": "rk-other"},
    {"conditions": []},
    {"numParticipants": 7, "occupancy": "Maintenance", "issues": ["Missing"], "observedGeneration": 99},
    None,
)
"""Edits of the Room of a call that goes on."""

OF_ENDED: tuple[Edit, ...] = (
    *({"phase": phase.value} for phase in (MatchPhase.PENDING, MatchPhase.ACTIVE, MatchPhase.TERMINATING)),
    {"phase": None},
    {"end": None},
    {"endedAt": None},
    {"endedAt": FAR},
    {"conditions": []},
    {"phase": "Active", "conditions": []},
    {"phase": "Active", "end": None},
    {"phase": "Active", "endedAt": None},
    {"end": None, "endedAt": None},
    {"startedAt": None, "participants": None, "history": []},
)
"""Edits of a Match that is over."""

DOWN = pytest.mark.parametrize("down", [False, True], ids=["operator up", "operator down"])


def name_of(edit: Any) -> str:
    """Name an edit by its fields."""
    return ",".join(f"{key}={str(value)[:24]}" for key, value in edit.items()) if isinstance(edit, dict) else str(edit)


def let_the_operator_see_it(world: World, *, down: bool) -> None:
    """Reconcile; an operator that was down remembers nothing."""
    if down:
        world.restart()
    world.until_rest()


@DOWN
@pytest.mark.parametrize("edit", CORRECTED, ids=name_of)
def test_an_edit_of_a_call_is_corrected_and_the_call_goes_on(edit: Edit, down: bool) -> None:
    world = came_up(World())
    assert world.match is not None
    before = world.match.status
    world.now += 1
    world.edit_match(edit)
    let_the_operator_see_it(world, down=down)
    after = world.match.status
    assert (after.phase, after.end, after.ended_at, after.connected) == (MatchPhase.ACTIVE, None, None, "2/2")
    assert world.users == dict.fromkeys(b.PEOPLE, "IN_CALL")
    assert set(world.people) == set(b.PEOPLE)
    assert after.room == before.room
    assert {one.type: one.status for one in after.conditions} == {one.type: one.status for one in before.conditions}
    if edit is not None and FAR not in edit.values() and "history" not in edit:
        assert (after.ready_at, after.connected_at) == (before.ready_at, before.connected_at)
        assert after.started_at == before.started_at or edit.get("startedAt", "") is None
    ends_clean(world)


@DOWN
@pytest.mark.parametrize(("edit", "reason"), BELIEVED, ids=name_of)
def test_an_end_that_another_client_wrote_is_an_end_with_all_that_follows(edit: Edit, reason: str, down: bool) -> None:
    world = came_up(World())
    world.edit_match(edit)
    let_the_operator_see_it(world, down=down)
    assert world.match is not None
    assert world.match.status.end is not None
    assert (world.phase(), world.match.status.end.reason) == (MatchPhase.ENDED, reason)
    assert is_clean(world)
    assert Counter(world.freed) == Counter(b.PEOPLE)


@DOWN
@pytest.mark.parametrize("edit", OF_ROOM, ids=name_of)
def test_an_edit_of_the_room_of_a_call_is_corrected_and_the_call_goes_on(edit: Edit, down: bool) -> None:
    world = came_up(World())
    world.edit_room(edit)
    let_the_operator_see_it(world, down=down)
    assert world.room is not None
    assert world.livekit is not None
    status = world.room.status
    assert (status.phase, status.reason, status.terminated_at) == (RoomPhase.ACTIVE, None, None)
    assert (status.sid, world.livekit_rooms_made) == (world.livekit.sid, 1)
    assert (world.phase(), set(world.people)) == (MatchPhase.ACTIVE, set(b.PEOPLE))
    ends_clean(world)


@DOWN
@pytest.mark.parametrize("reason", ["Terminated", "Lost"])
def test_a_reason_that_another_client_wrote_closes_the_room_and_ends_the_call(reason: str, down: bool) -> None:
    world = came_up(World())
    world.edit_room({"reason": reason})
    let_the_operator_see_it(world, down=down)
    assert world.match is not None
    assert world.match.status.end is not None
    assert world.match.status.end.reason == "RoomLost"
    assert is_clean(world)


@DOWN
@pytest.mark.parametrize("has_ledger", [True, False], ids=["soon after", "long after"])
@pytest.mark.parametrize("edit", OF_ENDED, ids=name_of)
def test_a_match_that_is_over_stays_so_whatever_is_edited(edit: Edit, has_ledger: bool, down: bool) -> None:
    world = came_up(World())
    ends_clean(world)
    assert world.match is not None
    before, users, freed, rooms = world.match.status, dict(world.users), list(world.freed), world.rooms_made
    if not has_ledger:
        world.ledger = None
    world.edit_match(edit)
    let_the_operator_see_it(world, down=down)
    after = world.match.status
    assert after.phase is MatchPhase.ENDED
    assert after.is_over
    assert after.end is not None
    assert before.end is not None
    assert after.end.reason == before.end.reason
    assert after.end == before.end or not has_ledger
    assert (world.users, world.freed, world.rooms_made) == (users, freed, rooms)
    assert is_clean(world)


@DOWN
@pytest.mark.parametrize("has_ledger", [True, False], ids=["soon after", "long after"])
def test_a_match_that_is_over_takes_no_user_again_once_its_status_is_emptied(has_ledger: bool, down: bool) -> None:
    world = came_up(World())
    ends_clean(world)
    users, freed = dict(world.users), list(world.freed)
    world.now += 60
    if not has_ledger:
        world.ledger = None
    world.edit_match(None)
    let_the_operator_see_it(world, down=down)
    assert world.phase() is MatchPhase.ENDED, "spec.termination says so, too"
    assert (world.users, world.freed, world.rooms_made) == (users, freed, 1)


@pytest.mark.parametrize(
    "edit", [{"readyAt": FAR}, {"readyAt": None}, {"connectedAt": FAR}, {"connectedAt": LONG_AGO}], ids=name_of
)
def test_a_window_is_over_in_time_whatever_moment_was_written_for_its_start(edit: Edit) -> None:
    world = World()
    world.until_rest()
    world.edit_match(edit)
    world.pass_time(60)
    assert world.match is not None
    assert world.match.status.end is not None
    assert world.match.status.end.reason == "NoShow"
    assert is_clean(world)


def ends_clean(world: World) -> None:
    """End the call by a wish: nothing is left, and each user is released once."""
    world.wish(action="End", initiator="alice")
    world.until_rest()
    assert world.phase() is MatchPhase.ENDED
    assert is_clean(world)
    assert Counter(world.freed) == Counter(b.PEOPLE)
