"""Standing Rooms: applied by hand, without a Match."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from livekit import api

from controller.api.names import FINALIZER, MARK_KEY, PAUSED, livekit_room_name
from controller.api.room import Room
from tests import manifests
from tests.support.kstatus import kstatus
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience


async def _applied(rig: Rig, **spec: Any) -> Room:
    await rig.kube.apply(manifests.room("lobby", **spec))
    return await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")


async def _made_by_a_client(rig: Rig, name: str) -> api.Room:
    """Make a room without any mark, as a LiveKit with `auto_create: true` does for any client with a token."""
    room = await rig.livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=300))
    assert not room.metadata, "the operator was faster"
    return room


async def test_a_standing_room_is_made_as_declared_counts_its_people_and_goes(rig: Rig) -> None:
    made = await _applied(rig, maxParticipants=3, metadata={"topic": "tea"})
    name = livekit_room_name(rig.where.cluster_id, rig.kube.namespace, made.metadata.uid)
    assert (made.status.phase, made.status.occupancy, made.status.livekit_name) == ("Active", "Available", name)
    assert FINALIZER in made.metadata.finalizers
    there = (await rig.livekit_rooms())[name]
    assert (there.max_participants, there.empty_timeout, there.departure_timeout) == (3, 3600, 3600)
    metadata = json.loads(there.metadata)
    assert metadata["topic"] == "tea"
    assert metadata[MARK_KEY]["rootUID"] == metadata[MARK_KEY]["roomUID"] == made.metadata.uid

    async def is_recorded() -> None:
        assert (await rig.hash(rig.keys.room(name))).get("status") == "active"

    await eventually(is_recorded)

    alice = rig.people.uninvited("alice", name)
    await alice.join()
    seen = await rig.kube.room_until(lambda room: room.status.num_participants == 1, "lobby")
    assert seen.status.occupancy == "Occupied"
    await alice.leave()
    seen = await rig.kube.room_until(lambda room: room.status.num_participants == 0, "lobby")
    assert seen.status.occupancy == "Available"

    await rig.kube.remove("room", "lobby")
    assert await rig.livekit_rooms() == {}
    assert (await rig.hash(rig.keys.room(name)))["status"] == "terminated"
    assert await rig.redis.ttl(rig.keys.room_deleted(name)) > 0
    events = [json.loads(entry["event"]) for entry in await rig.stream(rig.keys.events())]
    assert [event["data"]["status"] for event in events] == ["creating", "active", "terminating", "terminated"]
    assert {event["data"]["sessionID"] for event in events} == {""}


async def test_an_orphaned_room_lives_on_without_our_mark(rig: Rig) -> None:
    made = await _applied(rig, deletionPolicy="Orphan", metadata={"topic": "tea"})
    name = made.status.livekit_name
    assert name is not None
    alice = rig.people.uninvited("alice", name)
    await alice.join()
    await rig.kube.remove("room", "lobby")
    answer = await rig.livekit.room.list_rooms(api.ListRoomsRequest(names=[name]))
    assert [json.loads(room.metadata) for room in answer.rooms] == [{"topic": "tea"}]
    assert await rig.livekit_people(name) == {"alice"}
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


async def test_strangers_are_removed_and_the_event_is_written_once(rig: Rig) -> None:
    made = await _applied(rig, maxParticipants=5, allowedIdentities=["alice"])
    name = made.status.livekit_name
    assert name is not None
    alice = rig.people.uninvited("alice", name)
    await alice.join()
    for hidden in (False, True):
        carol = rig.people.uninvited("carol", name, hidden=hidden)
        await carol.start()
        # LiveKit does not tell a client that it removes while it connects; the client tries once more after 15 s.
        assert (await carol.wait_for("disconnected", timeout=patience(30)))["reason"] == "PARTICIPANT_REMOVED"
        await rig.kube.room_until(lambda room: not room.status.issues, "lobby")
    assert await rig.livekit_people(name) == {"alice"}

    async def said_each_time_in_one_event() -> None:
        (event,) = [event for event in await rig.events() if event["reason"] == "UnexpectedParticipant"]
        assert event["count"] >= 2

    await eventually(said_each_time_in_one_event)


async def test_a_room_that_livekit_lost_is_made_again_under_its_name(rig: Rig) -> None:
    made = await _applied(rig)
    name = made.status.livekit_name
    assert name is not None
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    restored = await rig.kube.room_until(lambda room: room.status.restores == 1, "lobby")
    assert restored.status.sid != made.status.sid
    assert (await rig.livekit_rooms())[name].sid == restored.status.sid
    assert is_true(restored, "Ready")


async def test_a_room_that_a_client_has_made_again_before_us_is_adopted_and_marked(rig: Rig) -> None:
    made = await _applied(rig, metadata={"topic": "tea"})
    name = str(made.status.livekit_name)
    await rig.kube.patch("Room", "lobby", {"metadata": {"annotations": {PAUSED: "true"}}})
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    revived = await _made_by_a_client(rig, name)
    alice = rig.people.uninvited("alice", name)
    await alice.join()
    await rig.kube.patch("Room", "lobby", {"metadata": {"annotations": {PAUSED: None}}})
    adopted = await rig.kube.room_until(lambda room: room.status.sid == revived.sid, "lobby")
    assert (adopted.status.restores, adopted.status.issues, adopted.status.phase) == (1, (), "Active")
    metadata = json.loads((await rig.livekit_rooms())[name].metadata)
    assert (metadata["topic"], metadata[MARK_KEY]["roomUID"]) == ("tea", made.metadata.uid)
    await rig.kube.room_until(lambda room: room.status.num_participants == 1, "lobby")
    assert await rig.livekit_people(name) == {"alice"}


async def test_a_room_that_is_over_is_deleted_again_when_a_client_makes_it(rig: Rig) -> None:
    made = await _applied(rig)
    name = str(made.status.livekit_name)
    await rig.kube.patch("Room", "lobby", {"spec": {"terminationReason": "the party is over"}})
    await rig.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (await _made_by_a_client(rig, name)).sid

    async def is_gone() -> None:
        answer = await rig.livekit.room.list_rooms(api.ListRoomsRequest(names=[name]))
        assert list(answer.rooms) == []

    await eventually(is_gone)
    over = await rig.kube.room("lobby")
    assert (over.status.phase, over.status.reason) == ("Terminated", "Terminated")


async def test_a_standing_room_that_closed_by_itself_stays_gone(rig: Rig) -> None:
    await rig.kube.create(manifests.room("lobby", emptyTimeoutSeconds=2, departureTimeoutSeconds=2))
    over = await rig.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (over.status.phase, over.status.reason) == ("Terminated", "Empty")
    assert kstatus(await rig.kube.get("Room", "lobby") or {}) == "Current"
    assert await rig.livekit_rooms() == {}


async def test_a_room_is_closed_for_good_by_its_termination_reason(rig: Rig) -> None:
    made = await _applied(rig)
    name = made.status.livekit_name
    assert name is not None
    alice = rig.people.uninvited("alice", name)
    await alice.join()
    await rig.kube.patch("Room", "lobby", {"spec": {"terminationReason": "the party is over"}})
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    over = await rig.kube.room_until(lambda room: is_true(room, "Finished"), "lobby")
    assert (over.status.phase, over.status.reason) == ("Terminated", "Terminated")
    assert "the party is over" in condition(over, "Finished").message


async def test_metadata_that_changes_is_changed_on_livekit_beside_our_mark(rig: Rig) -> None:
    """Of the Room of a call by way of its Match, and of a standing Room; what another client writes beside it stays."""
    await rig.ready(room={"metadata": {"topic": "chess"}})
    await rig.kube.create(manifests.room("lobby", emptyTimeoutSeconds=120))
    await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")

    async def is_on_livekit(name: str, expected: dict[str, str]) -> None:
        (found,) = (await rig.livekit.room.list_rooms(api.ListRoomsRequest(names=[name]))).rooms
        metadata = json.loads(found.metadata)
        mark = metadata.pop("roomkeeper.dev")
        assert mark["namespace"] == rig.kube.namespace
        assert metadata == expected

    names = [await rig.livekit_name(await rig.kube.match())]
    lobby = await rig.kube.room("lobby")
    names.append(livekit_room_name(rig.where.cluster_id, rig.kube.namespace, lobby.metadata.uid))
    await is_on_livekit(names[0], {"topic": "chess"})
    for wanted, removed in (({"topic": "go", "level": "easy"}, {}), ({"topic": "go"}, {"level": None})):
        await rig.kube.patch("Match", "match", {"spec": {"room": {"metadata": {**wanted, **removed}}}})
        await rig.kube.patch("Room", "lobby", {"spec": {"metadata": {**wanted, **removed}}})
        for name in names:
            await eventually(partial(is_on_livekit, name, dict(wanted)))
    await rig.kube.room_until(lambda room: not room.status.issues, "lobby")
