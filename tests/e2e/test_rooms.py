"""Standing Rooms: applied by hand, without a Match."""

from __future__ import annotations

import json
from typing import Any

from livekit import api

from controller.api.names import FINALIZER, MARK_KEY, PAUSED, livekit_room_name
from controller.api.room import Room
from tests import manifests
from tests.support.kube import condition, is_true
from tests.support.waiting import eventually, patience
from tests.support.world import World


async def _applied(world: World, **spec: Any) -> Room:
    await world.kube.apply(manifests.room("lobby", **spec))
    return await world.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")


async def _made_by_a_client(world: World, name: str) -> api.Room:
    """As a LiveKit with `auto_create: true` makes a room for any client with a token: without any mark."""
    room = await world.livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=300))
    assert not room.metadata, "the operator was faster"
    return room


async def test_a_standing_room_is_made_as_declared_counts_its_people_and_goes(world: World) -> None:
    made = await _applied(world, maxParticipants=3, metadata={"topic": "tea"})
    name = livekit_room_name(world.where.cluster_id, world.kube.namespace, made.metadata.uid)
    assert (made.status.phase, made.status.occupancy, made.status.livekit_name) == ("Active", "Available", name)
    assert FINALIZER in made.metadata.finalizers
    there = (await world.livekit_rooms())[name]
    assert (there.max_participants, there.empty_timeout, there.departure_timeout) == (3, 3600, 3600)
    metadata = json.loads(there.metadata)
    assert metadata["topic"] == "tea"
    assert metadata[MARK_KEY]["rootUID"] == metadata[MARK_KEY]["roomUID"] == made.metadata.uid
    assert (await world.hash(world.keys.room(name)))["status"] == "active"

    alice = world.people.uninvited("alice", name)
    await alice.join()
    seen = await world.kube.room_until(lambda room: room.status.num_participants == 1, "lobby")
    assert seen.status.occupancy == "Occupied"
    await alice.leave()
    seen = await world.kube.room_until(lambda room: room.status.num_participants == 0, "lobby")
    assert seen.status.occupancy == "Available"

    await world.kube.remove("room", "lobby")
    assert await world.livekit_rooms() == {}
    assert (await world.hash(world.keys.room(name)))["status"] == "terminated"
    assert await world.redis.ttl(world.keys.room_deleted(name)) > 0
    events = [json.loads(entry["event"]) for entry in await world.stream(world.keys.events())]
    assert [event["data"]["status"] for event in events] == ["creating", "active", "terminating", "terminated"]
    assert {event["data"]["sessionID"] for event in events} == {""}


async def test_an_orphaned_room_lives_on_without_our_mark(world: World) -> None:
    made = await _applied(world, deletionPolicy="Orphan", metadata={"topic": "tea"})
    name = made.status.livekit_name
    assert name is not None
    alice = world.people.uninvited("alice", name)
    await alice.join()
    await world.kube.remove("room", "lobby")
    answer = await world.livekit.room.list_rooms(api.ListRoomsRequest(names=[name]))
    assert [json.loads(room.metadata) for room in answer.rooms] == [{"topic": "tea"}]
    assert await world.livekit_people(name) == {"alice"}
    await world.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


async def test_strangers_are_removed_and_the_event_is_written_once(world: World) -> None:
    made = await _applied(world, maxParticipants=5, allowedIdentities=["alice"])
    name = made.status.livekit_name
    assert name is not None
    alice = world.people.uninvited("alice", name)
    await alice.join()
    for _ in range(2):
        carol = world.people.uninvited("carol", name)
        await carol.start()
        # LiveKit does not tell a client that it removes while it connects; the client tries once more after 15 s.
        assert (await carol.wait_for("disconnected", timeout=patience(30)))["reason"] == "PARTICIPANT_REMOVED"
        await world.kube.room_until(lambda room: not room.status.issues, "lobby")
    assert await world.livekit_people(name) == {"alice"}

    async def said_each_time_in_one_event() -> None:
        (event,) = [event for event in await world.events() if event["reason"] == "UnexpectedParticipant"]
        assert event["count"] >= 2

    await eventually(said_each_time_in_one_event)


async def test_a_room_that_livekit_lost_is_made_again_under_its_name(world: World) -> None:
    made = await _applied(world)
    name = made.status.livekit_name
    assert name is not None
    await world.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    restored = await world.kube.room_until(lambda room: room.status.restores == 1, "lobby")
    assert restored.status.sid != made.status.sid
    assert (await world.livekit_rooms())[name].sid == restored.status.sid
    assert is_true(restored, "Ready")


async def test_a_room_that_a_client_has_made_again_before_us_is_adopted_and_marked(world: World) -> None:
    made = await _applied(world, metadata={"topic": "tea"})
    name = str(made.status.livekit_name)
    await world.kube.patch("Room", "lobby", {"metadata": {"annotations": {PAUSED: "true"}}})
    await world.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    revived = await _made_by_a_client(world, name)
    alice = world.people.uninvited("alice", name)
    await alice.join()
    await world.kube.patch("Room", "lobby", {"metadata": {"annotations": {PAUSED: None}}})
    adopted = await world.kube.room_until(lambda room: room.status.sid == revived.sid, "lobby")
    assert (adopted.status.restores, adopted.status.issues, adopted.status.phase) == (1, (), "Active")
    metadata = json.loads((await world.livekit_rooms())[name].metadata)
    assert (metadata["topic"], metadata[MARK_KEY]["roomUID"]) == ("tea", made.metadata.uid)
    await world.kube.room_until(lambda room: room.status.num_participants == 1, "lobby")
    assert await world.livekit_people(name) == {"alice"}


async def test_a_room_that_is_over_is_deleted_again_when_a_client_makes_it(world: World) -> None:
    made = await _applied(world)
    name = str(made.status.livekit_name)
    await world.kube.patch("Room", "lobby", {"spec": {"terminationReason": "the party is over"}})
    await world.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (await _made_by_a_client(world, name)).sid

    async def is_gone() -> None:
        answer = await world.livekit.room.list_rooms(api.ListRoomsRequest(names=[name]))
        assert list(answer.rooms) == []

    await eventually(is_gone)
    over = await world.kube.room("lobby")
    assert (over.status.phase, over.status.reason) == ("Terminated", "Terminated")


async def test_a_standing_room_that_closed_by_itself_stays_gone(world: World) -> None:
    await world.kube.create(manifests.room("lobby", emptyTimeoutSeconds=2, departureTimeoutSeconds=2))
    over = await world.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (over.status.phase, over.status.reason) == ("Terminated", "Empty")
    assert condition(over, "Ready").status == "False"
    assert await world.livekit_rooms() == {}


async def test_a_room_is_closed_for_good_by_its_termination_reason(world: World) -> None:
    made = await _applied(world)
    name = made.status.livekit_name
    assert name is not None
    alice = world.people.uninvited("alice", name)
    await alice.join()
    await world.kube.patch("Room", "lobby", {"spec": {"terminationReason": "the party is over"}})
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    over = await world.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (over.status.phase, over.status.reason) == ("Terminated", "Terminated")
    assert "the party is over" in condition(over, "Finished").message
