"""Calls on a drained server get their turns to end: the oldest first, at a bounded rate, after a pause."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.livekitserver import Drain, DrainType
from controller.api.match import Match
from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.servers import Servers
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.triggers.drain import FIRST_TURNS_AFTER_SECONDS, ROUND_SECONDS, DrainPacer
from controller.triggers.router import Router
from controller.views.calls import CallIndex
from controller.views.drains import DrainTurns
from controller.views.placements import RoomPlacements
from tests import values as b

EMERGENCY = Drain(type=DrainType.EMERGENCY)


class Rig:
    """A server with calls on it, and the keys that were woken."""

    def __init__(self, *, calls: int = 4, per_second: float = 2.0) -> None:
        self.woken: list[str] = []
        self.placements = RoomPlacements()
        self.servers = Servers(b.servers(), self.placements)
        self.calls, self.turns, self.seconds = CallIndex(), DrainTurns(), 100.0
        for number in range(calls):
            self.calls.kept(self.match(number, created=calls - number))
        fake = SimpleNamespace(
            servers=self.servers,
            calls=self.calls,
            drains=self.turns,
            clock=SimpleNamespace(now=lambda: b.at(self.seconds)),
        )
        router = Router(b.CLUSTER, self._wake)
        self.pacer = DrainPacer(cast("Backends", fake), router, per_second, "roomkeeper-system")

    def _wake(self, key: Key, wake: Wake) -> None:
        assert wake is Wake.DRAIN
        is_room = key.kind is ROOM and key.name.startswith("lobby")
        assert is_room or key.kind is MATCH or key == Key(LIVEKIT_SERVER, "roomkeeper-system", "default")
        self.woken.append(key.name)

    @staticmethod
    def match(number: int, *, created: float = 0, server: str = "default", **status: Any) -> Match:
        room = {"name": "rk", "liveKitName": "rk", "server": server}
        match = b.active(name=f"call-{number}", uid=f"uid-{number}", status={"room": room, **status})
        metadata = match.metadata.model_copy(update={"creation_timestamp": b.T0 + timedelta(seconds=created)})
        return match.model_copy(update={"metadata": metadata})

    def drain(self, drain: Drain | None) -> None:
        next(iter(self.servers)).drain = drain

    def rounds(self, count: int) -> list[str]:
        """Run so many rounds; return the keys that they woke."""
        self.woken.clear()
        for _ in range(count):
            self.seconds += ROUND_SECONDS
            self.pacer.round(self.seconds)
        return list(self.woken)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_calls_end_the_oldest_first_at_a_bounded_rate_after_a_pause(rig: Rig) -> None:
    rig.drain(EMERGENCY)
    told = [rig.rounds(1) for _ in range(12)]
    pause = int(FIRST_TURNS_AFTER_SECONDS / ROUND_SECONDS)
    assert told[:pause] == [[]] * pause, "participants are told first"
    assert [name for names in told for name in names] == ["call-3", "call-2", "call-1", "call-0"]
    assert max(len(names) for names in told) <= 1 + 2 * ROUND_SECONDS


def lobby(number: int, created: float) -> Room:
    """A standing Room that was made at this second."""
    room = b.a_room(owned=False, uid=f"room-{number}", status={"phase": "Active", "created_at": b.at(created)})
    return room.model_copy(update={"metadata": room.metadata.model_copy(update={"name": f"lobby-{number}"})})


def test_standing_rooms_have_their_turns_among_the_calls(rig: Rig) -> None:
    rig.placements.kept(lobby(1, created=0))
    rig.placements.kept(lobby(2, created=2.5))
    rig.drain(EMERGENCY)
    assert rig.rounds(12) == ["lobby-1", "call-3", "call-2", "lobby-2", "call-1", "call-0"]
    assert rig.turns.of("room-2") is not None


def test_standing_rooms_that_were_not_made_or_are_on_another_server_get_no_turn() -> None:
    rig = Rig(calls=0)
    rig.placements.kept(b.a_room(owned=False))
    elsewhere = lobby(1, created=1)
    moved = elsewhere.status.model_copy(update={"server": "us-1"})
    rig.placements.kept(elsewhere.model_copy(update={"status": moved}))
    rig.drain(EMERGENCY)
    assert rig.rounds(12) == []


@pytest.mark.parametrize(
    "drain",
    [
        None,
        Drain(type=DrainType.GRACEFUL),
        Drain(type=DrainType.MAINTENANCE, deadline=b.at(9999)),
    ],
)
def test_no_call_ends_unless_the_drain_ends_calls_now(rig: Rig, drain: Drain | None) -> None:
    rig.drain(drain)
    assert rig.rounds(20) == []


def test_a_deadline_that_has_passed_ends_calls(rig: Rig) -> None:
    rig.drain(Drain(type=DrainType.MAINTENANCE, deadline=b.at(101)))
    assert len(rig.rounds(20)) == 4


def test_calls_on_another_server_and_calls_that_end_already_get_no_turn() -> None:
    rig = Rig(calls=0)
    rig.calls.kept(rig.match(1, server="us-1"))
    rig.calls.kept(rig.match(2, phase="Terminating"))
    rig.drain(EMERGENCY)
    assert rig.rounds(20) == []


def test_a_drain_that_is_taken_back_takes_the_turns_back(rig: Rig) -> None:
    rig.drain(EMERGENCY)
    rig.rounds(20)
    assert rig.turns.of("uid-0") is not None
    rig.drain(None)
    rig.rounds(1)
    assert rig.turns.of("uid-0") is None


def test_the_servers_own_key_is_woken_when_the_last_call_has_ended(rig: Rig) -> None:
    rig.drain(Drain(type=DrainType.GRACEFUL))
    assert rig.rounds(2) == []
    for number in range(4):
        rig.calls.gone(rig.match(number))
    assert rig.rounds(2) == ["default"]
    view = next(iter(rig.servers)).view
    view.snapshot([b.a_livekit_room(people=1)], b.at(rig.seconds))
    assert rig.rounds(2) == ["default"]
    view.snapshot([replace(b.a_livekit_room(), num_participants=0)], b.at(rig.seconds + 1))
    assert rig.rounds(2) == ["default"]


def test_the_key_of_a_server_that_is_being_deleted_is_woken_when_no_room_is_left() -> None:
    rig = Rig(calls=0)
    next(iter(rig.servers)).is_leaving = True
    rig.placements.kept(lobby(1, created=0))
    assert rig.rounds(2) == []
    rig.placements.gone(lobby(1, created=0))
    assert rig.rounds(2) == ["default"]


def test_the_servers_own_key_is_woken_when_no_room_of_a_call_is_left(rig: Rig) -> None:
    rig.drain(Drain(type=DrainType.GRACEFUL))
    for number in range(4):
        rig.calls.gone(rig.match(number))
    rig.placements.reserve("calls", "made-soon", "default")
    assert rig.rounds(2) == []
    rig.placements.release("calls", "made-soon")
    assert rig.rounds(2) == ["default"]
