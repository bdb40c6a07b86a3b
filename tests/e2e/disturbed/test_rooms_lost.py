"""LiveKit loses its rooms: the operator makes them again at once, under their names, and clients come back.

These tests kill LiveKit itself, so they have a stack of their own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from livekit import api

from controller.api.match import Match
from controller.api.names import room_name
from controller.api.room import Room
from sandbox.callers import Callers
from sandbox.endpoints import Endpoints
from sandbox.people import Person
from sandbox.stack import Stack, StackOptions
from tests import manifests
from tests.support.kube import condition, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

LIVEKIT = "livekit-server"


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory, audit_log: Path, real_programs: None) -> AsyncIterator[Stack]:
    """A stack without an operator, whose LiveKit is killed."""
    log = audit_log.with_suffix(".lost.log")
    async with Stack(StackOptions(tmp_path_factory.mktemp("lost") / "stack", operator=False, audit_log=log)) as stack:
        yield stack


@pytest.fixture
def where(own: Stack) -> Endpoints:
    return own.endpoints


async def test_a_call_goes_on_after_livekit_crashed_and_came_back_without_its_rooms(rig: Rig, own: Stack) -> None:
    await rig.operators.start()
    before, people = await rig.active()
    seen = [len(person.events) for person in people]
    name = await rig.livekit_name(before)
    async with Callers(own.endpoints.redis_url, {rig.keys.notify(person.identity): person for person in people}):
        await own.kill(LIVEKIT)
        # Now their clients try again only after pauses.
        await asyncio.gather(*(person.wait_for("reconnecting") for person in people))
        await own.start_program(LIVEKIT)
        await asyncio.gather(*(_is_back(person, after) for person, after in zip(people, seen, strict=True)))
    after = await rig.kube.match_until(lambda match: match.status.phase == "Active" and match.status.connected == "2/2")
    assert after.status.connected_at == before.status.connected_at
    assert after.status.room is not None
    assert before.status.room is not None
    assert (after.status.room.livekit_name, after.status.room.name) == (name, before.status.room.name)
    assert after.status.room.sid != before.status.room.sid
    assert await rig.livekit_people(name) == {"alice", "bob"}
    room = await rig.kube.room_until(lambda found: found.status.restores == 1, room_name(after.metadata.uid))
    assert (len(room.status.restored_at), room.status.lost_at, room.status.issues) == (1, None, ())
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await _were_called_back(rig, "alice", "bob")


async def test_a_call_whose_room_is_deleted_behind_our_back_goes_on_once_both_are_back(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.3")
    before, people = await rig.active(timeouts={"leaveSeconds": 0})
    name = await rig.livekit_name(before)
    await _delete_on_livekit(rig, name)
    await asyncio.gather(*(person.wait_for("disconnected", reason="ROOM_DELETED") for person in people))
    await _is_there_again(rig, before)
    await rig.join(before)
    after = await rig.kube.match_until(lambda match: match.status.phase == "Active" and match.status.connected == "2/2")
    assert after.status.connected_at == before.status.connected_at
    assert await rig.livekit_name(after) == name
    assert await rig.livekit_people(name) == {"alice", "bob"}
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")


async def test_no_user_is_punished_for_a_room_that_is_deleted_behind_our_back(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.3")
    await rig.enqueue("alice", "bob")
    match, people = await rig.active(timeouts={"leaveSeconds": 0, "reconnectSeconds": 3})
    await _delete_on_livekit(rig, await rig.livekit_name(match))
    await asyncio.gather(*(person.wait_for("disconnected", reason="ROOM_DELETED") for person in people))
    await _is_there_again(rig, match)
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert over.status.end.reason == "RoomLost"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert await rig.livekit_rooms() == {}


async def test_a_call_goes_on_in_a_room_that_a_client_has_made_before_us(rig: Rig, own: Stack) -> None:
    operator = await rig.operators.start()
    before, people = await rig.active()
    seen = [len(person.events) for person in people]
    name = await rig.livekit_name(before)
    await operator.kill()
    await own.kill(LIVEKIT)
    await own.start_program(LIVEKIT)
    # As LiveKit makes a room for the first client that comes, where `auto_create` is on: without any mark.
    revived = await rig.livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=300))
    await asyncio.gather(*(_is_back(person, after) for person, after in zip(people, seen, strict=True)))
    await operator.start()
    room = await rig.kube.room_until(lambda found: found.status.restores == 1, room_name(before.metadata.uid))
    assert (room.status.sid, room.status.issues) == (revived.sid, ())
    assert name in await rig.livekit_rooms(), "it carries our mark"
    after = await rig.kube.match_until(lambda match: match.status.phase == "Active" and match.status.connected == "2/2")
    assert after.status.connected_at == before.status.connected_at
    assert await rig.livekit_people(name) == {"alice", "bob"}
    await _were_called_back(rig)


async def test_a_call_that_no_user_joins_is_a_no_show_also_if_we_were_down_until_livekit_closed_its_room(
    rig: Rig,
) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.ready(timeouts={"connectSeconds": 3}, room={"emptyTimeoutSeconds": 8})
    await operator.kill()

    async def closed() -> None:
        assert await rig.livekit_rooms() == {}

    await eventually(closed)
    await operator.start()
    # An absence of ten seconds moves the window, and the room is made again; a shorter one does not.
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert over.status.end.reason == "NoShow"
    await rig.expect_states(alice="IDLE", bob="IDLE")
    assert await rig.livekit_rooms() == {}


async def test_all_rooms_that_livekit_lost_are_made_again_in_one_go(rig: Rig, own: Stack) -> None:
    await rig.operators.start()
    names = [f"room-{number}" for number in range(30)]
    await asyncio.gather(*(rig.kube.create(manifests.room(name)) for name in names))
    before = {name: await _until_ready(rig, name) for name in names}
    await own.kill(LIVEKIT)
    await own.start_program(LIVEKIT)

    async def all_there() -> None:
        expected = {room.status.livekit_name for room in before.values()}
        assert set(await rig.livekit_rooms()) == expected

    await eventually(all_there)
    for name in names:
        room = await rig.kube.room_until(lambda found: found.status.restores == 1, name)
        assert is_true(room, "Ready")


async def test_a_livekit_that_comes_back_after_the_operator_gets_its_rooms_at_once(rig: Rig, own: Stack) -> None:
    operator = await rig.operators.start(log_level="debug")
    await rig.kube.create(manifests.room())
    made = await _until_ready(rig, "lobby")
    name = str(made.status.livekit_name)
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    await rig.kube.room_until(lambda room: room.status.restores == 1, "lobby")
    await _reports_restores(rig, 1)

    await operator.kill()
    await own.kill(LIVEKIT)
    await operator.start()
    await eventually(operator.leads)
    await _has_failed_a_few_times(rig)
    await own.start_program(LIVEKIT)

    async def is_there() -> None:
        assert name in await rig.livekit_rooms()

    await eventually(is_there)
    restored = await rig.kube.room_until(lambda room: room.status.restores == 2, "lobby")
    assert restored.status.restored_at[-1] < _own_retry(operator), "it waited for the next try of the Room itself"
    # The second operator counts on where the first one stopped.
    await _reports_restores(rig, 2)


async def test_a_room_that_is_lost_again_and_again_is_given_up_and_so_is_its_call(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.3")
    await rig.enqueue("alice", "bob")
    match = await rig.ready(timeouts={"connectSeconds": 300}, room={"emptyTimeoutSeconds": 600})
    owned, name = room_name(match.metadata.uid), await rig.livekit_name(match)
    for restores in range(1, 6):
        await _delete_on_livekit(rig, name)
        if restores == 4:
            waiting = await rig.kube.room_until(lambda room: room.status.issues == ("Missing",), owned)
            assert (waiting.status.phase, waiting.status.occupancy) == ("Creating", "Maintenance")
            assert "since it was lost before" in condition(waiting, "Healthy").message
        room = await rig.kube.room_until(partial(_is_restored, restores), owned)
        assert (room.status.phase, room.status.lost_at) == ("Active", None)
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(room.status.restored_at)]
    assert [pause >= least for pause, least in zip(pauses, (1, 2, 4, 8), strict=True)] == [True] * 4, pauses
    await _delete_on_livekit(rig, name)
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.phase, over.status.end.reason) == ("Ended", "RoomLost")
    assert "its Room is Failed (Lost)" in str(over.status.end.message)
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}
    assert await rig.livekit_rooms() == {}


async def test_a_standing_room_that_is_given_up_says_why_and_stays_gone(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.3")
    await rig.kube.create(manifests.room())
    made = await _until_ready(rig, "lobby")
    # As if it had been lost before: five times within the last minutes.
    lately = (time.time() - seconds for seconds in (300, 290, 280, 270, 260))
    times = [time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment)) for moment in lately]
    status = {"restoredAt": times, "restores": 5}
    await rig.kube.patch("Room", "lobby", {"status": status}, subresource="status")
    await _delete_on_livekit(rig, str(made.status.livekit_name))
    over = await rig.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (over.status.phase, over.status.reason, over.status.issues) == ("Failed", "Lost", ("Missing",))
    assert "restored 5 times within 10 minutes" in condition(over, "Ready").message
    assert over.status.terminated_at is not None
    assert await rig.livekit_rooms() == {}


async def _until_ready(rig: Rig, name: str) -> Room:
    return await rig.kube.room_until(lambda room: is_true(room, "Ready"), name)


async def _is_there_again(rig: Rig, match: Match) -> None:
    owned = room_name(match.metadata.uid)
    room = await rig.kube.room_until(lambda found: found.status.restores == 1, owned)
    assert (room.status.phase, room.status.reason) == ("Active", None)


async def _is_back(person: Person, after: int) -> None:
    event = await person.wait_for("reconnected", "rejoined", "disconnected", "failed", after=after)
    assert event["event"] in {"reconnected", "rejoined"}, person


async def _were_called_back(rig: Rig, *users: str) -> None:
    """Each of these users received the notice `rejoin` once, and no other user received it."""
    told = [
        who
        for who in ("alice", "bob")
        for notice in await rig.stream(rig.keys.notify(who))
        if notice["type"] == "rejoin"
    ]
    assert told == list(users)
    events = [json.loads(entry["event"]) for entry in await rig.stream(rig.keys.events())]
    called = [event["data"]["missing"] for event in events if event["type"] == "dev.roomkeeper.match.rejoin"]
    assert called == ([list(users)] if users else [])


async def _delete_on_livekit(rig: Rig, name: str) -> None:
    async def deleted() -> None:
        try:
            await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
        except api.TwirpError as error:
            raise AssertionError(f"{name} is not there: {error.code}") from None

    await eventually(deleted)


async def _reports_restores(rig: Rig, count: int) -> None:
    async def told() -> None:
        events = [event for event in await rig.events() if event["reason"] == "Restored"]
        assert [event["count"] for event in events] == [count]

    await eventually(told)


def _own_retry(operator: Operator) -> datetime:
    """Return when the key of the Room would have come back by itself, after its last failure."""
    last = next(line for line in reversed(operator.log.splitlines()) if "retry_in_seconds" in line)
    record = json.loads(last)
    return datetime.fromisoformat(record["timestamp"]) + timedelta(seconds=record["retry_in_seconds"])


async def _has_failed_a_few_times(rig: Rig) -> None:
    """The Room has failed so often that its key would come back by itself only after some seconds."""

    async def failed() -> None:
        assert rig.operators.logs.count('"failures": 6') >= 1

    await eventually(failed)


def _is_restored(times: int, room: Room) -> bool:
    return room.status.restores == times
