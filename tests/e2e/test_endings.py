"""How a Match ends, and where its users go: the endings that a wish or time decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.api.match import Match
from controller.api.names import room_name
from tests import manifests
from tests.support.kstatus import kstatus
from tests.support.kube import condition, is_true
from tests.support.rig import Rig

Place = str | None


@dataclass(frozen=True)
class Case:
    """A wish, whether the two had met before, and where alice and bob go: (state, place)."""

    action: str
    who: str
    reason: str
    alice: tuple[str, Place]
    bob: tuple[str, Place]
    had_call: bool = True
    spec: dict[str, Any] = field(default_factory=dict)


CASES = {
    "skip": Case("Skip", "alice", "Skipped", ("Waiting", "Now"), ("Waiting", "Now")),
    "end": Case("End", "alice", "Ended", ("Idle", None), ("Waiting", "Now")),
    "skip by the other one": Case("Skip", "bob", "Skipped", ("Waiting", "Now"), ("Waiting", "Now")),
    "end by the other one": Case("End", "bob", "Ended", ("Waiting", "Now"), ("Idle", None)),
    "disconnect": Case("Disconnect", "bob", "Disconnected", ("Waiting", "Now"), ("Idle", None)),
    "disconnect the other one": Case("Disconnect", "alice", "Disconnected", ("Idle", None), ("Waiting", "Now")),
    "skip before they met": Case("Skip", "bob", "Skipped", ("Waiting", "Original"), ("Waiting", "Now"), had_call=False),
    "end before they met": Case("End", "bob", "Ended", ("Waiting", "Original"), ("Idle", None), had_call=False),
    "disconnect before they met": Case(
        "Disconnect", "alice", "Disconnected", ("Idle", None), ("Waiting", "Original"), had_call=False
    ),
    "skip without requeue": Case(
        "Skip",
        "alice",
        "Skipped",
        ("Idle", None),
        ("Idle", None),
        had_call=False,
        spec={"requeue": {"onSkipped": "None"}},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_termination_settles_the_users(rig: Rig, case: Case) -> None:
    before = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    people = (await rig.active(**case.spec))[1] if case.had_call else ()
    if not case.had_call:
        await rig.ready(**case.spec)
    await rig.kube.patch("Match", "match", manifests.termination(case.action, case.who, "because"))
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))

    _assert_end(match, case)
    assert kstatus(await rig.kube.get("Match", "match") or {}) == "Current"
    queue = await rig.queue()
    for identity, (state, place) in (("alice", case.alice), ("bob", case.bob)):
        user = await rig.user(identity)
        assert (user.state, user.reason) == (state.upper(), case.reason)
        assert (identity in queue) == (state == "Waiting")
        if place == "Original":
            assert queue[identity] == before[identity]
        if place == "Now":
            assert queue[identity] > before[identity]
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert await rig.livekit_rooms() == {}
    assert await rig.kube.list("Secret") == []
    assert await rig.kube.list("Room") == []


def _assert_end(match: Match, case: Case) -> None:
    assert (match.status.phase, match.status.reason, match.status.connected) == ("Ended", case.reason, "0/2")
    end = match.status.end
    assert end is not None
    assert (end.reason, end.initiator) == (case.reason, "moderator" if case.action == "Disconnect" else case.who)
    assert case.who in (end.message or "")
    assert "because" in (end.message or "")
    assert [(one.identity, one.state, one.place) for one in end.outcomes] == [
        ("alice", *case.alice),
        ("bob", *case.bob),
    ]
    assert match.status.ended_at is not None
    assert match.status.history[-1].phase == "Ended"
    assert match.status.tokens is None
    for kind in ("Connected", "RoomReady", "TokensIssued"):
        assert condition(match, kind).status == "False"
    generation = match.metadata.generation
    assert all(entry.observed_generation == generation for entry in match.status.conditions)


@pytest.mark.parametrize("ttl_seconds", [0, 1])
async def test_a_match_that_is_over_is_deleted_after_its_time(rig: Rig, ttl_seconds: int) -> None:
    await rig.ready(ttlSecondsAfterFinished=ttl_seconds)
    await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
    await rig.kube.gone("Match", "match")


async def test_two_whose_call_is_over_can_meet_again_at_once(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    await rig.ready(name="first")
    await rig.kube.patch("Match", "first", manifests.termination("Skip", "alice"))
    again = await rig.ready(name="second", admission="Queued")
    assert await rig.states("alice", "bob") == {"alice": "CONNECTING", "bob": "CONNECTING"}
    assert (await rig.user("alice")).match == again.metadata.uid


async def test_a_user_who_came_waits_again_and_one_who_did_not_is_idle(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    match = await rig.ready(timeouts={"connectSeconds": 15})
    token = (await rig.tokens(match))["alice"]
    await rig.people("alice", token["token"]).join()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert over.status.end.reason == "NoShow"
    assert [(one.identity, one.state, one.detail) for one in over.status.end.outcomes] == [
        ("alice", "Waiting", None),
        ("bob", "Idle", "NeverSeen"),
    ]
    assert "bob" in (over.status.end.message or "")
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "IDLE"}


async def test_a_call_ends_at_its_longest_duration(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    _, people = await rig.active(timeouts={"maxDurationSeconds": 1})
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (over.status.phase, over.status.reason) == ("Ended", "MaxDuration")
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert await rig.states("alice", "bob") == {"alice": "IDLE", "bob": "IDLE"}


async def test_a_match_whose_room_is_deleted_by_hand_ends_as_lost(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    match, _ = await rig.active()
    await rig.kube.remove("room", room_name(match.metadata.uid))
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (over.status.phase, over.status.reason) == ("Ended", "RoomLost")
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}


async def test_the_first_cause_wins(rig: Rig) -> None:
    """A wish and a deletion come at the same time: the users are settled according to the wish."""
    await rig.enqueue("alice", "bob")
    match = await rig.ready()
    await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
    await rig.delete()
    assert await rig.states("alice", "bob") == {"alice": "IDLE", "bob": "WAITING"}
    ledger = await rig.hash(rig.keys.match(match.metadata.uid))
    assert (ledger["endReason"], ledger["endInitiator"]) == ("Ended", "alice")
