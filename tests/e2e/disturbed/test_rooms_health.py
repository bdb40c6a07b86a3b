"""The status of a Room reports each issue with a sentence, and no longer does so when the issue is over."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from livekit import api

from controller.api.names import API_VERSION
from controller.api.room import Room
from tests import manifests
from tests.support.chaos import frozen
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently

PAUSED = {"metadata": {"annotations": {"roomkeeper.dev/paused": "true"}}}
RESUMED = {"metadata": {"annotations": {"roomkeeper.dev/paused": None}}}


async def _made(rig: Rig, **spec: Any) -> tuple[Room, str]:
    """Create a standing Room; return it once it is Ready, and its name on LiveKit."""
    await rig.kube.create(manifests.room("lobby", **spec))
    made = await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")
    return made, str(made.status.livekit_name)


async def _healthy(rig: Rig) -> Room:
    return await rig.kube.room_until(lambda room: is_true(room, "Healthy") and not room.status.issues, "lobby")


async def test_a_room_is_stale_while_livekit_is_silent_for_long(rig: Rig) -> None:
    await rig.operators.start()
    made, _ = await _made(rig)
    assert is_true(made, "Healthy")
    await rig.ready()
    with frozen(rig.where, "livekit-server"):
        stale = await rig.kube.room_until(lambda room: room.status.issues == ("Stale",), "lobby", 30)
        healthy = condition(stale, "Healthy")
        assert (healthy.status, healthy.reason) == ("False", "Stale")
        assert "has not answered since" in healthy.message
        assert is_true(stale, "Degraded")
        assert (stale.status.phase, stale.status.occupancy) == ("Active", "Available")
        await rig.kube.match_until(lambda match: is_true(match, "Degraded"))
        versions = stale.metadata.resource_version

        async def nothing_is_written_because_time_passes() -> None:
            assert (await rig.kube.room("lobby")).metadata.resource_version == versions

        await consistently(nothing_is_written_because_time_passes, 3)
    await _healthy(rig)
    await rig.kube.match_until(lambda match: not is_true(match, "Degraded"))


async def test_a_room_whose_metadata_was_written_over_is_unowned_and_goes_on(rig: Rig) -> None:
    await rig.operators.start()
    match, _ = await rig.active()
    name = await rig.livekit_name(match)
    assert match.status.room is not None
    room = str(match.status.room.name)
    await rig.livekit.room.update_room_metadata(api.UpdateRoomMetadataRequest(room=name, metadata="mine"))
    unowned = await rig.kube.room_until(lambda found: found.status.issues == ("Unowned",), room)
    assert "overwritten its metadata" in condition(unowned, "Healthy").message
    assert (unowned.status.phase, unowned.status.occupancy) == ("Active", "Occupied")
    assert (await rig.kube.match()).status.phase == "Active"
    await rig.delete()
    answer = await rig.livekit.room.list_rooms(api.ListRoomsRequest(names=[name]))
    assert list(answer.rooms) == [], "the room that we made is closed by us"


async def test_a_room_whose_match_is_gone_is_unowned_until_kubernetes_collects_it(rig: Rig) -> None:
    await rig.operators.start()
    owner = {"apiVersion": API_VERSION, "kind": "Match", "name": "gone", "uid": str(uuid.uuid4()), "controller": True}
    with frozen(rig.where, "kube-controller-manager"):
        await rig.kube.create(manifests.room("lobby", meta={"ownerReferences": [owner]}))
        unowned = await rig.kube.room_until(lambda room: room.status.issues == ("Unowned",), "lobby")
        assert "its Match gone is gone" in condition(unowned, "Healthy").message
    await rig.kube.gone("Room", "lobby", at_least_seconds=20)


async def test_more_people_than_the_room_is_for_are_a_wrong_count(rig: Rig) -> None:
    """LiveKit itself admits no more, so another client makes the room again, with a larger limit."""
    await rig.operators.start()
    made, name = await _made(rig, maxParticipants=1)
    await rig.kube.patch("Room", "lobby", PAUSED)
    metadata = (await rig.livekit_rooms())[name].metadata
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    larger = api.CreateRoomRequest(name=name, max_participants=9, metadata=metadata, empty_timeout=300)
    await rig.livekit.room.create_room(larger)
    await rig.kube.patch("Room", "lobby", RESUMED)
    alice, bob = (rig.people.uninvited(who, name) for who in ("alice", "bob"))
    await alice.join()
    await bob.join()
    crowded = await rig.kube.room_until(lambda room: bool(room.status.issues), "lobby")
    assert (crowded.status.issues, crowded.status.num_participants) == (("WrongParticipantCount",), 2)
    assert condition(crowded, "Healthy").message == "2 participants are in a room for 1"
    await bob.leave()
    assert (await _healthy(rig)).status.num_participants == 1
    await rig.kube.room_until(lambda room: room.status.sid != made.status.sid, "lobby")


async def test_an_agent_in_the_room_is_not_counted_and_makes_no_wrong_count(rig: Rig) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    _, name = await _made(rig, maxParticipants=1)
    alice = rig.people.uninvited("alice", name)
    await alice.join()
    token = api.AccessToken(rig.where.livekit_api_key, rig.where.livekit_api_secret).with_kind("agent")
    token.with_identity("scribe").with_grants(api.VideoGrants(room_join=True, room=name)).with_ttl(timedelta(minutes=5))
    await rig.people("scribe", token.to_jwt()).join()
    await rig.kube.room_until(lambda room: room.status.num_participants == 1, "lobby")
    assert await rig.livekit_people(name) == {"alice", "scribe"}

    async def all_is_well() -> None:
        room = await rig.kube.room("lobby")
        assert (room.status.num_participants, room.status.issues, room.status.occupancy) == (1, (), "Occupied")

    # For longer than the count lags behind the list.
    await consistently(all_is_well, 6)

    async def asked() -> float:
        metrics = await operator.metrics()
        return metrics("roomkeeper_backend_call_duration_seconds_count", operation="ListParticipants")

    before = await asked()
    await consistently(all_is_well, 3)
    assert await asked() == before, "people were listed again and again while nothing changed"
