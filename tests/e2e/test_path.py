"""The path of a call: from `kubectl apply` to two people talking, until everything is as clean as before."""

from __future__ import annotations

import json

import pytest

from controller.api.names import API_VERSION, FINALIZER, TOKENS_KEY, room_name, token_secret_name
from controller.api.states import UserState
from sandbox.errors import JoinError
from tests import manifests
from tests.support.kube import condition, is_true
from tests.support.rig import Rig


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "plain"])
async def test_two_people_wait_meet_and_wait_again(rig: Rig, managed: bool) -> None:
    """The whole path; every store is checked after every step."""
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    await rig.kube.apply(manifests.match(admission="Queued", room={"departureTimeoutSeconds": 25}))
    match = await rig.kube.match_until(lambda found: is_true(found, "Ready"))

    # Ready: the users are ours, the room and the tokens are there.
    assert match.status.phase == "Connecting"
    assert FINALIZER in match.metadata.finalizers
    assert await rig.states("alice", "bob") == {"alice": "CONNECTING", "bob": "CONNECTING"}
    assert await rig.queue() == {}
    livekit_name = await rig.livekit_name(match)
    await _assert_room_is_as_declared(rig, livekit_name, match.metadata.uid)
    for identity in ("alice", "bob"):
        user = await rig.user(identity)
        assert (user.match, user.match_name, user.room) == (match.metadata.uid, "match", livekit_name)
        assert (user.url, user.session_id) == (rig.where.livekit_url, match.metadata.uid)
        assert user.queued_at_ms == places[identity]

    # They join, and it is a call.
    alice, bob = await rig.join(match)
    match = await rig.kube.match_until(lambda found: is_true(found, "Connected"))
    assert (match.status.phase, match.status.connected) == ("Active", "2/2")
    assert [(person.identity, person.state) for person in match.status.participants] == [
        ("alice", "Connected"),
        ("bob", "Connected"),
    ]
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await alice.wait_for("track_subscribed", identity="bob")

    # A third one is refused by the room itself.
    with pytest.raises(JoinError) as refusal:
        await rig.people.uninvited("carol", livekit_name).join()
    assert refusal.value.status == 500
    assert await rig.livekit_people(livekit_name) == {"alice", "bob"}

    # It is deleted: people are told, and everything goes.
    await rig.kube.remove("match", "match")
    for person in (alice, bob):
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}
    queue = await rig.queue()
    # A user who had a call gets a new place.
    assert all(queue[identity] > places[identity] for identity in places)
    assert await rig.livekit_rooms() == {}
    assert await rig.kube.get("Secret", token_secret_name(match.metadata.uid)) is None
    assert await rig.kube.get("Room", room_name(match.metadata.uid)) is None


async def _assert_room_is_as_declared(rig: Rig, livekit_name: str, match_uid: str) -> None:
    room = await rig.kube.room_until(lambda found: found.status.phase == "Active", room_name(match_uid))
    owner = room.metadata.owner_references[0]
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Match", "match", match_uid, True)
    assert (room.status.phase, room.status.livekit_name) == ("Active", livekit_name)
    rooms = await rig.livekit_rooms()
    assert list(rooms) == [livekit_name]
    there = rooms[livekit_name]
    assert (there.max_participants, there.empty_timeout, there.departure_timeout) == (2, 30, 25)
    assert room.status.sid == there.sid
    assert json.loads(there.metadata)["roomkeeper.dev"] == {
        "cluster": rig.where.cluster_id,
        "namespace": rig.kube.namespace,
        "name": room.metadata.name,
        "rootUID": match_uid,
        "roomUID": room.metadata.uid,
    }
    record = dict(await rig.hash(rig.keys.room(livekit_name)))
    assert int(record.pop("createdAt")) <= int(record.pop("lastUpdated"))
    assert record == {
        "roomName": room.metadata.name,
        "sessionID": match_uid,
        "user1": "alice",
        "user2": "bob",
        "status": "active",
        "maxParticipants": "2",
    }
    assert 7000 < await rig.redis.ttl(rig.keys.room(livekit_name)) <= 7200


@pytest.mark.parametrize(
    ("delivery", "in_secret", "in_redis"),
    [("Secret", True, False), ("Redis", False, True), ("Both", True, True), ("None", False, False)],
)
async def test_tokens_are_delivered_as_asked(rig: Rig, delivery: str, in_secret: bool, in_redis: bool) -> None:
    match = await rig.ready(tokens={"delivery": delivery, "ttlSeconds": 120})
    uid = match.metadata.uid
    secret = await rig.kube.get("Secret", token_secret_name(uid))
    assert (secret is not None) == in_secret
    if secret is not None:
        assert list(secret["data"]) == [TOKENS_KEY]
        owner = {"apiVersion": API_VERSION, "kind": "Match", "name": "match", "uid": uid}
        assert owner.items() <= secret["metadata"]["ownerReferences"][0].items()
        assert match.status.tokens is not None
        assert match.status.tokens.secret_name == secret["metadata"]["name"]
    hashed = await rig.hash(rig.keys.tokens(uid))
    assert set(hashed) == ({"alice", "bob"} if in_redis else set())
    if in_redis:
        assert 0 < await rig.redis.ttl(rig.keys.tokens(uid)) <= 120
        entry = json.loads(hashed["alice"])
        assert (entry["url"], entry["room"]) == (rig.where.livekit_url, await rig.livekit_name(match))
        if in_secret:
            assert await rig.tokens(match) == {who: json.loads(text) for who, text in hashed.items()}
        joined = await rig.people("alice", entry["token"], entry["url"]).join()
        assert joined["identity"] == "alice"
    assert condition(match, "TokensIssued").status == "True"
    await rig.delete()
    assert await rig.kube.list("Secret") == []
    assert await rig.hash(rig.keys.tokens(uid)) == {}


async def test_users_who_never_queued_are_idle_afterwards(rig: Rig) -> None:
    await rig.active()
    await rig.delete()
    assert await rig.states("alice", "bob") == {"alice": UserState.IDLE, "bob": UserState.IDLE}
    assert await rig.queue() == {}


async def test_a_match_that_is_deleted_before_any_user_came_leaves_all_in_their_places(rig: Rig) -> None:
    before = await rig.enqueue("alice", "bob", "carol")
    await rig.kube.create(manifests.match())
    await rig.kube.match_until(lambda match: match.status.phase is not None)
    await rig.delete()
    assert await rig.queue() == dict(zip(("alice", "bob", "carol"), before, strict=True))
