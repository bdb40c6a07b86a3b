"""The whole life of a Match and its Room without any backend: a model of the world executes the plans.

The operator is killed at every write of every path, and another one continues; every ending comes in every phase.
Meanwhile `world.World` checks the promises: users change states by the rules and are released once, nothing is made for
a Match that is over, no finalizer is removed too early, and no two steps undo each other.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.api.endings import EndCode, EndReason
from controller.api.phases import MatchPhase, RoomPhase
from controller.facts.match import Refusal
from controller.plan.room import plan_room
from controller.rules.room_case import RoomCase
from tests import values as b
from tests.plan.world import Killed, World, names

Ending = Callable[[World], None]

HAPPY_WRITES = 11
CALL_WRITES = 14


def came_up(world: World) -> World:
    """Reconcile until both participants are connected; return the world."""
    world.until_rest()
    world.now += 2
    world.join("alice")
    world.join("bob")
    world.until_rest()
    return world


def is_clean(world: World) -> bool:
    """Whether nothing of the call is left on LiveKit, in Kubernetes, or in the users' records."""
    left = (world.room, world.livekit, world.tokens)
    free = {"WAITING", "IDLE"}
    return left == (None, None, None) and set(world.users.values()) <= free and not world.people


def test_a_match_comes_up_with_the_fewest_writes() -> None:
    world = World()
    world.until_rest()
    assert world.log == [
        "AddFinalizer", "Claim", "CreateRoom", "IssueTokens", "Advance", "status",
        "CreateLiveKitRoom", "WriteRoomRecord", "WriteRoomRecord", "room status", "status",
    ]  # fmt: skip
    assert world.match is not None
    assert world.match.status.phase is MatchPhase.CONNECTING
    assert len(world.log) == HAPPY_WRITES


def test_a_call_that_is_up_writes_nothing_however_long_it_lasts() -> None:
    world = came_up(World(match=b.a_match(tokens={"delivery": "None"})))
    before = world.writes
    world.pass_time(1700)
    assert world.match is not None
    assert (world.match.status.phase, world.writes) == (MatchPhase.ACTIVE, before)


def test_the_record_is_renewed_while_a_call_lasts_and_tokens_only_while_a_participant_may_need_them() -> None:
    world = came_up(World())
    world.pass_time(7000)
    assert world.log.count("IssueTokens") == 1
    assert world.log.count("WriteRoomRecord") == 2 + 7000 // 1800


def end_by(action: str, **who: str) -> Ending:
    """Return an ending by the matchmaker's wish."""
    return lambda world: world.wish(action=action, **who)


def later(seconds: float) -> Ending:
    """Return an ending by time alone."""
    return lambda world: world.pass_time(seconds)


ENDINGS: list[tuple[str, Ending, EndReason | None]] = [
    ("skip", end_by("Skip", initiator="alice"), EndReason.SKIPPED),
    ("end", end_by("End", initiator="bob"), EndReason.ENDED),
    ("disconnect", end_by("Disconnect", target="bob", initiator="moderator"), EndReason.DISCONNECTED),
    ("delete", World.delete_match, None),
    ("room deleted by hand", World.delete_room, EndReason.ROOM_LOST),
    ("longest duration", later(7300), EndReason.MAX_DURATION),
]


@pytest.mark.parametrize(("ending", "reason"), [case[1:] for case in ENDINGS], ids=[case[0] for case in ENDINGS])
def test_a_call_that_is_up_ends_for_every_reason(ending: Ending, reason: EndReason | None) -> None:
    world = came_up(World())
    ending(world)
    world.until_rest()
    assert is_clean(world)
    assert sorted(world.freed) == ["alice", "bob"]
    if reason is None:
        assert world.match is None
        return
    assert world.match is not None
    status = world.match.status
    assert status.end is not None
    assert (status.phase, status.end.reason) == (MatchPhase.ENDED, reason)
    world.pass_time(400)
    assert world.match is None, "ttlSecondsAfterFinished is over"


@pytest.mark.parametrize("joined", [(), ("alice",), ("bob",)])
def test_a_call_without_one_of_its_participants_ends_as_no_show(joined: tuple[str, ...]) -> None:
    world = World()
    world.until_rest()
    for identity in joined:
        world.join(identity)
    world.pass_time(27)
    assert world.match is not None
    end = world.match.status.end
    assert end is not None
    assert end.reason is EndReason.NO_SHOW
    assert {o.identity: str(o.state) for o in end.outcomes} == {
        identity: "Waiting" if identity in joined else "Idle" for identity in b.PEOPLE
    }
    assert is_clean(world)


@pytest.mark.parametrize("webhook", [True, False])
def test_the_poll_alone_tells_the_same_story_as_the_webhooks(webhook: bool) -> None:
    world = World()
    world.until_rest()
    for identity in b.PEOPLE:
        world.join(identity, webhook=webhook)
    world.until_rest()
    world.now += 5
    world.leave("bob", webhook=webhook)
    world.until_rest()
    assert world.match is not None
    assert [entry.phase for entry in world.match.status.history][-2:] == [MatchPhase.ACTIVE, MatchPhase.RECONNECTING]
    world.now += 2
    world.join("bob", webhook=webhook)
    world.until_rest()
    assert world.match.status.phase is MatchPhase.ACTIVE


# Killed at every write


def killed_at(world: World, writes: int, go: Callable[[], None]) -> None:
    """Run until `writes` writes were made; then kill the operator, and let another one take over."""
    world.budget = writes
    try:
        go()
    except Killed:
        world.log.append("killed")
    world.restart()


@pytest.mark.parametrize("writes", range(HAPPY_WRITES + 1))
def test_killed_at_any_write_on_the_way_up_the_match_comes_up_the_same(writes: int) -> None:
    world = World()
    killed_at(world, writes, world.until_rest)
    world.until_rest()
    assert world.match is not None
    assert world.match.status.phase is MatchPhase.CONNECTING
    assert (world.rooms_made, world.livekit_rooms_made) == (1, 1)
    assert set(world.users.values()) == {"CONNECTING"}


@pytest.mark.parametrize("writes", range(10))
@pytest.mark.parametrize(("ending", "reason"), [c[1:] for c in ENDINGS[:5]], ids=[c[0] for c in ENDINGS[:5]])
def test_killed_at_any_write_on_the_way_down_the_end_is_the_same(
    writes: int, ending: Ending, reason: EndReason | None
) -> None:
    world = came_up(World())
    ending(world)
    killed_at(world, writes, world.until_rest)
    world.until_rest()
    assert is_clean(world)
    assert sorted(world.freed) == ["alice", "bob"]
    assert (world.match is None) == (reason is None)
    if world.match is not None:
        assert world.match.status.end is not None
        assert world.match.status.end.reason == reason


@pytest.mark.parametrize("writes", range(CALL_WRITES + 1))
@pytest.mark.parametrize("crash", [False, True], ids=["goes on", "restarts"])
@pytest.mark.parametrize("ending", [c[1] for c in ENDINGS[:5]], ids=[c[0] for c in ENDINGS[:5]])
def test_whatever_comes_after_whichever_write_the_world_is_clean_in_the_end(
    writes: int, crash: bool, ending: Ending
) -> None:
    world = World()
    world.budget = writes
    with contextlib.suppress(Killed):
        came_up(world)
    world.budget = 1_000_000
    if crash:
        world.restart()
    ending(world)
    world.until_rest()
    world.pass_time(60)
    world.delete_match()
    world.until_rest()
    assert world.match is None
    assert is_clean(world)
    assert len(set(world.freed)) == len(world.freed)
    assert len(world.freed) in {0, 2}


@pytest.mark.parametrize("writes", range(2, 6))
@pytest.mark.parametrize("end", ["delete", "too late"])
def test_before_ready_every_user_gets_exactly_their_place_back(writes: int, end: str) -> None:
    world = World()
    places = dict(world.queue)
    world.budget = writes
    with pytest.raises(Killed):
        world.until_rest()
    world.restart()
    if end == "delete":
        world.delete_match()
    else:
        world.now = 31
    world.until_rest()
    assert world.users == dict.fromkeys(b.PEOPLE, "WAITING")
    assert world.queue == places
    assert is_clean(world)


def test_a_user_who_is_held_by_a_match_that_ends_is_waited_for() -> None:
    world = World(held_by=Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True))
    world.until_rest()
    assert world.phase() == MatchPhase.PENDING
    world.held_by = None
    world.pass_time(1)
    assert world.phase() == MatchPhase.CONNECTING


def test_a_user_who_is_never_released_fails_the_match_and_both_users_stay_as_they_were() -> None:
    world = World(held_by=Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True))
    world.pass_time(40)
    assert world.match is not None
    assert world.match.status.phase is MatchPhase.FAILED
    assert world.freed == []
    end = world.match.status.end
    assert end is not None
    assert re.search("bob (is|was) still in match calls/other", end.message or "")


def test_a_user_who_is_busy_fails_the_match_at_once_and_says_why() -> None:
    world = World(held_by=Refusal(EndCode.USER_BUSY, "bob", "calls/other"))
    world.until_rest()
    assert world.match is not None
    status = world.match.status
    accepted = next(c for c in status.conditions if c.type == "Accepted")
    assert (status.phase, status.reason, str(accepted.status), accepted.reason) == (
        MatchPhase.FAILED, "UserBusy", "False", "UserBusy",
    )  # fmt: skip
    assert "bob is in another match, calls/other" in accepted.message


def test_a_lost_room_is_restored_under_its_name_and_the_call_goes_on() -> None:
    world = came_up(World())
    world.now += 1
    world.lose_livekit_room()
    world.until_rest()
    assert world.livekit is not None
    assert (world.livekit.name, world.livekit.sid) == (b.LIVEKIT_NAME, "RM_2")
    assert world.room is not None
    assert world.room.status.restores == 1
    for identity in b.PEOPLE:
        world.join(identity)
    world.until_rest()
    assert world.match is not None
    assert world.match.status.phase is MatchPhase.ACTIVE
    assert world.called_back == [("RM_2", "alice"), ("RM_2", "bob")]


@pytest.mark.parametrize("writes", range(1, 9))
def test_killed_at_any_write_of_a_restore_each_user_is_called_back_once(writes: int) -> None:
    world = came_up(World())
    world.now += 1
    world.lose_livekit_room()
    killed_at(world, writes, world.until_rest)
    world.until_rest()
    assert world.called_back == [("RM_2", "alice"), ("RM_2", "bob")]


def test_a_room_that_a_client_has_made_before_us_is_adopted_and_the_call_goes_on() -> None:
    world = came_up(World())
    world.lose_livekit_room()
    world.revive_livekit_room()
    world.until_rest()
    assert world.livekit is not None
    assert (world.livekit.sid, world.livekit.mark) == ("RM_2", b.a_mark())
    for identity in b.PEOPLE:
        world.join(identity)
    world.until_rest()
    assert world.match is not None
    assert world.match.status.phase is MatchPhase.ACTIVE


def test_a_room_that_livekit_closed_before_its_match_decided_is_made_again() -> None:
    world = World()
    world.until_rest()
    world.now = 35
    world.lose_livekit_room()
    assert world.room is not None
    plan = plan_room(RoomCase(world.room, world.seen_of_room(), b.at(35)))
    assert names(plan) == ["CreateLiveKitRoom", "WriteRoomRecord"]


def test_a_standing_room_lives_and_goes_without_a_match() -> None:
    world = World(match=None, room=b.a_room(owned=False, finalizers=()))
    world.until_rest()
    assert world.room is not None
    assert (world.room.status.phase, world.livekit is not None) == (RoomPhase.ACTIVE, True)
    world.delete_room()
    world.until_rest()
    assert is_clean(world)
    assert world.record == b.a_record("terminated", world.now)


class AnyOrder(RuleBasedStateMachine):
    """Participants, matchmakers, crashes and time in any order; then nothing happens, and all must end cleanly."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(writes=st.integers(0, 6))
    def reconcile_and_be_killed(self, writes: int) -> None:
        """Let the operator reconcile until `writes` writes were made; then kill it."""
        killed_at(self.world, writes, self.world.until_rest)

    @rule()
    def reconcile(self) -> None:
        """Let the operator reconcile until nothing is left to do."""
        self.world.until_rest()

    @rule(identity=st.sampled_from(b.PEOPLE), webhook=st.booleans())
    def join(self, identity: str, webhook: bool) -> None:
        """Let a participant join."""
        self.world.join(identity, webhook=webhook)

    @rule(identity=st.sampled_from(b.PEOPLE), webhook=st.booleans())
    def leave(self, identity: str, webhook: bool) -> None:
        """Let a participant leave."""
        self.world.leave(identity, webhook=webhook)

    @rule(seconds=st.sampled_from([0.5, 3.0, 26.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass while no operator reconciles."""
        self.world.now += seconds

    @rule()
    def livekit_restarts(self) -> None:
        """Restart LiveKit: without a Redis of its own it forgets its rooms."""
        self.world.lose_livekit_room()

    @rule()
    def a_client_makes_the_room(self) -> None:
        """Let a client make the room: LiveKit creates it for any client with a token."""
        self.world.revive_livekit_room()

    @precondition(lambda self: self.world.now > 1)
    @rule(action=st.sampled_from([end_by("Skip", initiator="alice"), World.delete_match, World.delete_room]))
    def end(self, action: Ending) -> None:
        """End the call in one of the ways."""
        action(self.world)

    @invariant()
    def users_are_where_the_ledger_says(self) -> None:
        """S2, S4: held users are held by a live Match; freed ones are freed once."""
        world = self.world
        held = {user for user, state in world.users.items() if state not in {"WAITING", "IDLE"}}
        live = world.ledger is not None and world.ledger.claimed and not world.ledger.settled
        assert held == (set(b.PEOPLE) if live else set())
        assert len(set(world.freed)) == len(world.freed)
        if world.ledger is not None and world.ledger.phase == "Active" and live:
            assert set(world.users.values()) == {"IN_CALL"}
        assert set(world.queue) == {user for user, state in world.users.items() if state == "WAITING"}

    def teardown(self) -> None:
        """At the end the operator comes to rest and writes nothing more; a deleted Match goes."""
        world = self.world
        world.until_rest()
        world.pass_time(40)
        before = world.writes
        world.until_rest()
        assert world.writes == before
        world.delete_match()
        world.until_rest()
        assert world.match is None
        assert is_clean(world)


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=12, deadline=None, derandomize=True)
test_in_any_order_a_match_comes_to_its_end = AnyOrder.TestCase
