"""Events: every transition of a Match, of a user and of a room as a CloudEvent, in order, each with its own id."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import contract
from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.records import RoomRecord
from controller.clients.redis.replies.pool import Incarnation
from controller.clients.redis.requests import AdvanceRequest, ClaimMode, SettleRequest
from controller.facts.ledger import Cause, Destination
from tests.redis.world import NOW, World

IDLE = (Destination.IDLE, QueuePlace.NOW)
AGAIN = (Destination.WAITING, QueuePlace.NOW)
BOTH = ("alice", "bob")
LEFT = Cause("Left", "bob", "bob left and was not back after 3 s", '{"code": "Left", "subject": ["bob"]}')


async def advance(world: World, phase: str, state: UserState = UserState.IN_CALL, **fields: Any) -> None:
    request = AdvanceRequest("m1", tuple((who, state) for who in BOTH), phase=phase, **fields)
    await world.pool.advance(request, now_ms=NOW + 5)


async def event_types(world: World) -> list[str]:
    return [event["type"].removeprefix("dev.roomkeeper.") for event in await world.events()]


async def test_the_events_of_a_call_tell_its_whole_course(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.claim("m1", *BOTH)
    await advance(world, "Connecting", UserState.CONNECTING, room="rk-1", url="wss://example.org")
    await advance(world, "Active")
    await world.pool.settle(SettleRequest("m1", "session-m1", (), LEFT, final=False), now_ms=NOW)
    await advance(world, "Terminating", UserState.DISCONNECTING)
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, cause=LEFT)
    assert await event_types(world) == [
        "user.waiting",
        "match.creating",
        "match.connecting",
        "match.active",
        "match.terminating",
        "user.waiting",
        "user.idle",
        "match.ended",
    ]
    events = {event["type"].rpartition(".")[2]: event["data"] for event in await world.events()}
    assert [user["place"] for user in events["creating"]["users"]] == [1000, None]
    assert (events["connecting"]["room"], events["connecting"]["url"]) == ("rk-1", "wss://example.org")
    assert {user["state"] for user in events["active"]["users"]} == {"IN_CALL"}
    assert (events["terminating"]["reason"], events["terminating"]["initiator"]) == ("Left", "bob")
    assert [user["outcome"] for user in events["ended"]["users"]] == ["WAITING", "IDLE"]


async def test_who_dropped_out_is_named_in_the_event(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.hear()
    await advance(world, "Reconnecting", missing=(("bob", NOW + 9),))
    (event,) = await world.events()
    assert (event["data"]["missing"], event["data"]["until"]) == (["bob"], NOW + 9)


async def test_users_who_move_while_the_phase_stays_have_events_of_their_own(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.hear()
    for _ in range(2):
        await advance(world, "")
    assert [(event["type"], event["data"]["user"]) for event in await world.events()] == [
        ("dev.roomkeeper.user.in-call", "alice"),
        ("dev.roomkeeper.user.in-call", "bob"),
    ]


async def test_a_room_is_told_of_when_its_status_changes(world: World) -> None:
    for status in ("creating", "creating", "active", "active", "terminating"):
        record = RoomRecord("rk-1", "room-1", status, NOW, 2, session_id="s-1")
        await world.pool.write_room_record(record, now_ms=NOW)
    for _ in range(2):
        await world.pool.end_room_record("rk-1", now_ms=NOW)
    events = await world.events()
    assert await event_types(world) == ["room.creating", "room.active", "room.terminating", "room.terminated"]
    assert events[-1]["data"] == {"room": "rk-1", "roomName": "room-1", "sessionID": "s-1", "status": "terminated"}
    assert {event["subject"] for event in events} == {"room/rk-1"}


async def test_the_id_of_an_event_follows_from_what_the_transition_leaves_behind(world: World) -> None:
    place = await world.enqueue("alice")
    await world.claim("m1", *BOTH)
    await advance(world, "Active")
    await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, now_ms=NOW + 9)
    assert [event["id"] for event in await world.events()] == [
        f"user/alice/{place}-1",
        "match/m1/1",
        "match/m1/2",
        f"user/alice/{NOW + 9}-{(await world.user('alice')).epoch}",
        f"user/bob/{NOW + 9}-{(await world.user('bob')).epoch}",
        "match/m1/3",
    ]
    assert (await world.raw("HGET", world.keys.match("m1"), "transitions")) == "3"


async def test_after_a_loss_of_data_no_event_has_the_id_of_an_earlier_one(world: World) -> None:
    await world.claim("m1", *BOTH)
    await advance(world, "Active")
    before = {event["id"] for event in (await world.hear()).events}
    await world.lose_everything()
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    restorer = world.other_owner(incarnation=begun.value)
    await restorer.claim("m1", *BOTH, mode=ClaimMode.RESTORE, phase="Active", state=UserState.IN_CALL)
    opened = await restorer.pool.finish_restore()
    assert isinstance(opened, Incarnation)
    owner = world.other_owner(incarnation=opened.value)
    await advance(owner, "Terminating", UserState.DISCONNECTING)
    await owner.settle("m1", dict.fromkeys(BOTH, IDLE))
    after = [event["id"] for event in await world.events()]
    assert len(set(after)) == len(after) == 4
    assert not before & set(after)


async def test_an_event_says_where_it_comes_from_and_when_it_was(world: World) -> None:
    await world.claim("m1", *BOTH, now_ms=1_709_164_800_007)
    (event,) = await world.events()
    assert event["source"] == f"/roomkeeper/{world.keys.cluster_id}/{world.keys.namespace}"
    assert (event["time"], event["subject"]) == ("2024-02-29T00:00:00.007Z", "match/name-m1")
    assert (event["specversion"], event["datacontenttype"]) == ("1.0", "application/json")


async def test_ids_with_quotes_controls_and_other_scripts_arrive_as_they_are(world: World) -> None:
    who, other = 'q"\\u0041\n\x00\x7f/', "Zoë 🎧"
    await world.claim("m1", who, other)
    (event,) = await world.events()
    assert [user["user"] for user in event["data"]["users"]] == [who, other]
    assert [notice["type"] for notice in await world.notices(other)] == ["matched"]


async def test_times_are_rfc_3339_in_utc_in_every_century(world: World) -> None:
    dice = random.Random(7)
    edges = [
        "1970-01-01",
        "1999-12-31",
        "2000-02-29",
        "2024-02-29",
        "2026-03-01",
        "2100-02-28",
        "2100-03-01",
        "2399-12-31",
    ]
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    moments = [datetime.fromisoformat(edge).replace(tzinfo=UTC) for edge in edges]
    moments += [begin + timedelta(milliseconds=dice.randrange(430 * 366 * 86_400_000)) for _ in range(2000)]
    numbers = [(moment - begin) // timedelta(milliseconds=1) for moment in moments]
    common = contract.read("common.lua")
    texts = await world.raw("EVAL", common + _TIMES, 0, *numbers)
    assert texts == [moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") for moment in moments]


# How long they are kept


@pytest.mark.parametrize(("stream", "most"), [("events", 100_000), ("disconnects", 10_000)])
async def test_the_oldest_entries_go_beyond_a_number(world: World, stream: str, most: int) -> None:
    key = f"{world.keys.prefix}{stream}"
    for _ in range(11):
        await world.raw("EVAL", _FILL, 1, key, most // 10)
    await world.claim("m1", *BOTH)
    await world.settle("m1", dict.fromkeys(BOTH, IDLE))
    assert most <= await world.raw("XLEN", key) < most * 1.01
    await world.raw("DEL", key)


@pytest.mark.parametrize("stream", ["events", "disconnects"])
async def test_entries_go_after_a_day_as_others_are_written(world: World, stream: str) -> None:
    key = f"{world.keys.prefix}{stream}"
    seconds, _ = await world.raw("TIME")
    for hours in (30, 25, 23):
        for n in range(200):
            await world.raw("XADD", key, f"{(int(seconds) - hours * 3600) * 1000}-{n}", "hours", hours)
    for n in range(300):
        await world.claim(f"m{n}", *BOTH)
        await world.settle(f"m{n}", dict.fromkeys(BOTH, IDLE))
    left = {fields.get("hours") for fields in await world._entries(key)}
    assert "23" in left
    assert "30" not in left


_FILL = """
for n = 1, ARGV[1] do
  redis.call('XADD', KEYS[1], '*', 'n', n)
end
"""

_TIMES = """
local texts = {}
for n, ms in ipairs(ARGV) do
  texts[n] = rfc3339(tonumber(ms))
end
return texts
"""
