"""The record of a room in Redis: what is written, and what the answer tells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.act.users import end_room_record, write_room_record
from controller.backends.bundle import Backends
from controller.clients.redis.replies.pool import RoomAbsent, RoomOver, RoomReply, Written
from controller.facts.learned import Effect
from controller.facts.room import RecordFacts
from controller.plan import actions as a
from controller.plan.room import plan_room
from controller.rules.room_case import RoomCase
from tests import values as b
from tests.plan.world import only


class Rig:
    """A pool that answers as told, and remembers what it was asked."""

    def __init__(self, reply: RoomReply) -> None:
        self.asked: list[Any] = []
        self._reply = reply
        fake = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: b.at(9)),
            pools=SimpleNamespace(get=self._get, check=lambda _namespace, _reply: None),
        )
        self.backends = cast("Backends", fake)

    async def _get(self, _namespace: str) -> Any:
        return self

    async def write_room_record(self, record: Any, *, now_ms: int, knows_call: bool) -> RoomReply:
        assert now_ms == b.ms(9)
        self.asked.append((record.status, record.session_id, record.user1, record.user2, knows_call))
        return self._reply

    async def shut_room_record(self, livekit_name: str, *, now_ms: int) -> RoomReply:
        assert (livekit_name, now_ms) == (b.LIVEKIT_NAME, b.ms(9))
        self.asked.append("shut")
        return self._reply

    async def end_room_record(
        self, livekit_name: str, status: str, *, now_ms: int, leaves_tombstone: bool
    ) -> RoomReply:
        assert (livekit_name, now_ms, leaves_tombstone) == (b.LIVEKIT_NAME, b.ms(9), True)
        self.asked.append(status)
        return self._reply


CREATING = only(plan_room(RoomCase(b.a_room(), b.room_seen(), b.at(2))), a.WriteRoomRecord)


@pytest.mark.parametrize(("reply", "status"), [(Written(), "creating"), (RoomOver(), "terminated")])
async def test_what_becomes_of_a_record_that_is_written_is_known_from_the_answer(reply: RoomReply, status: str) -> None:
    """Also where it is refused: to read it and to plan it again at once would never end."""
    rig = Rig(reply)
    assert await write_room_record(CREATING, rig.backends) == Effect(record=RecordFacts(status, b.ms(9)))
    assert rig.asked == [("creating", "s-1", "alice", "bob", True)]


@pytest.mark.parametrize("reply", [Written(), RoomOver(), RoomAbsent()])
@pytest.mark.parametrize(
    ("status", "asked"), [("terminating", "shut"), ("terminated", "terminated"), ("failed", "failed")]
)
async def test_a_record_is_closed_with_one_call(reply: RoomReply, status: str, asked: str) -> None:
    rig = Rig(reply)
    action = a.EndRoomRecord(CREATING.target, b.LIVEKIT_NAME, status)
    assert await end_room_record(action, rig.backends) == Effect(record=RecordFacts(status, b.ms(9)))
    assert rig.asked == [asked]
