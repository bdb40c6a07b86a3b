"""LiveKit knows a participant by the alias, everything else by the identity; the token has the details of the spec."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from livekit import api

from controller.api.match import Match
from controller.api.names import room_name
from sandbox.people import Person
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually, patience

_ALICE: dict[str, Any] = {
    "identity": "alice",
    "alias": "p-91",
    "name": "Alice L.",
    "metadata": '{"rating": 5}',
    "attributes": {"lang": "de", "mood": "fine"},
    "grants": {"canPublish": False, "canPublishData": False, "canUpdateOwnMetadata": True},
}
_BOB: dict[str, Any] = {"identity": "bob", "alias": "p-92", "grants": {"canPublishSources": ["microphone"]}}
_SPEC: dict[str, Any] = {
    "participants": [_ALICE, _BOB],
    "tokens": {"delivery": "Both"},
    "timeouts": {"leaveSeconds": 1},
}
_UNHURRIED: dict[str, Any] = {"timeouts": {"connectSeconds": 60}, "room": {"emptyTimeoutSeconds": 65}}


@pytest.fixture
async def listener(rig: Rig) -> AsyncIterator[list[Person]]:
    """The client that may only listen; the fixture stops it at the end."""
    made: list[Person] = []
    yield made
    for person in made:
        await person.stop()


async def _call(rig: Rig, listener: list[Person], **room: Any) -> tuple[Match, Person, Person]:
    """Bob talks and alice, who may not, listens."""
    await rig.enqueue("alice", "bob")
    match = await rig.ready(**_SPEC, room=room)
    tokens = await rig.tokens(match)
    bob = rig.people("bob", tokens["bob"]["token"])
    await bob.join()
    alice = _listener(tokens["alice"], listener)
    await alice.join()
    return await rig.kube.match_until(lambda found: found.status.phase == "Active"), alice, bob


async def test_livekit_knows_people_by_their_aliases_and_we_by_their_identities(
    rig: Rig, listener: list[Person]
) -> None:
    match, alice, bob = await _call(rig, listener)
    name = await rig.livekit_name(match)
    await alice.wait_for("track_subscribed", identity="p-92")
    await bob.wait_for("participant_connected", identity="p-91")
    answer = await rig.livekit.room.list_participants(api.ListParticipantsRequest(room=name))
    there = {person.identity: person for person in answer.participants}
    assert set(there) == {"p-91", "p-92"}
    assert (there["p-91"].name, there["p-91"].metadata) == ("Alice L.", '{"rating": 5}')
    assert dict(there["p-91"].attributes) == {"lang": "de", "mood": "fine"}
    assert (there["p-92"].name, there["p-92"].metadata, dict(there["p-92"].attributes)) == ("", "", {})
    may = there["p-91"].permission
    assert (may.can_publish, may.can_subscribe, may.can_publish_data, may.can_update_metadata) == (
        False,
        True,
        False,
        True,
    )
    may = there["p-92"].permission
    assert (may.can_publish, may.can_subscribe, may.can_publish_data, may.can_update_metadata) == (
        True,
        True,
        True,
        False,
    )
    assert list(may.can_publish_sources) == [api.TrackSource.MICROPHONE]

    assert [(one.identity, one.state) for one in match.status.participants] == [
        ("alice", "Connected"),
        ("bob", "Connected"),
    ]
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    assert await rig.states("p-91", "p-92") == {"p-91": None, "p-92": None}
    record = await rig.hash(rig.keys.room(name))
    assert (record["user1"], record["user2"]) == ("alice", "bob")


async def test_tokens_are_kept_under_identities_and_made_out_to_aliases(rig: Rig) -> None:
    match = await rig.ready(**_SPEC)
    hashed = await rig.hash(rig.keys.tokens(match.metadata.uid))
    entries = {who: json.loads(text) for who, text in hashed.items()}
    assert entries == await rig.tokens(match)
    assert {who: entry["identity"] for who, entry in entries.items()} == {"alice": "p-91", "bob": "p-92"}
    claims = {who: _claims(rig, entry["token"]) for who, entry in entries.items()}
    alice, bob = claims["alice"], claims["bob"]
    room = await rig.livekit_name(match)
    assert (alice["sub"], alice["name"], alice["metadata"]) == ("p-91", "Alice L.", '{"rating": 5}')
    assert alice["attributes"] == {"lang": "de", "mood": "fine"}
    assert alice["video"] == {
        "roomJoin": True,
        "room": room,
        "canPublish": False,
        "canSubscribe": True,
        "canPublishData": False,
        "canUpdateOwnMetadata": True,
    }
    assert bob["sub"] == "p-92"
    assert not {"name", "metadata", "attributes"} & set(bob)
    assert bob["video"] == {
        "roomJoin": True,
        "room": room,
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
        "canPublishSources": ["microphone"],
    }
    # The other participants must not see the user's id.
    assert "alice" not in json.dumps(alice)
    assert "bob" not in json.dumps(bob)


async def test_a_user_who_leaves_under_an_alias_has_left(rig: Rig, listener: list[Person]) -> None:
    _, alice, bob = await _call(rig, listener)
    await alice.leave()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    end = over.status.end
    assert end is not None
    assert end.reason == "Left"
    assert (end.message or "").startswith("alice left")
    assert [(one.identity, one.state, one.detail) for one in end.outcomes] == [
        ("alice", "Idle", "CLIENT_INITIATED"),
        ("bob", "Waiting", None),
    ]
    assert (await bob.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="IDLE", bob="WAITING")
    assert list(await rig.queue()) == ["bob"]


async def test_a_client_that_comes_under_a_users_own_id_is_a_stranger(rig: Rig, listener: list[Person]) -> None:
    """The operator removes it from a room for two, and never takes it for the user."""
    await rig.enqueue("alice", "bob")
    match = await rig.ready(**_SPEC | _UNHURRIED)
    room = await rig.kube.room(room_name(match.metadata.uid))
    assert room.spec.allowed_identities == ("p-91", "p-92")
    tokens, name = await rig.tokens(match), await rig.livekit_name(match)
    await rig.people("bob", tokens["bob"]["token"]).join()
    stranger = rig.people.uninvited("alice", name)
    await stranger.start()
    # A client that is removed while it is still connecting tries for 15 s before it comes again.
    assert (await stranger.wait_for("disconnected", timeout=patience(30)))["reason"] == "PARTICIPANT_REMOVED"

    async def are_there(*aliases: str) -> None:
        assert await rig.livekit_people(name) == set(aliases)

    await eventually(lambda: are_there("p-92"))
    waiting = await rig.kube.match_until(lambda found: found.status.connected == "1/2")
    assert (waiting.status.phase, waiting.status.participants[0].state) == ("Connecting", "Invited")
    alice = _listener(tokens["alice"], listener)
    await alice.join()
    await rig.kube.match_until(lambda found: found.status.phase == "Active")
    # Their own people are no strangers: for longer than a poll takes.
    await consistently(lambda: are_there("p-91", "p-92"), 5)
    assert not alice.seen("disconnected")


async def test_a_guest_with_the_name_of_a_user_leaves_without_ending_the_call(rig: Rig, listener: list[Person]) -> None:
    """A larger room admits guests."""
    _, alice, _ = await _call(rig, listener, maxParticipants=3)
    guest = rig.people.uninvited("alice", await rig.livekit_name(await rig.kube.match()))
    await guest.join()
    await alice.wait_for("participant_connected", identity="alice")
    await guest.leave()
    await alice.wait_for("participant_disconnected", identity="alice")

    async def goes_on() -> None:
        found = await rig.kube.match()
        assert (found.status.phase, found.status.connected) == ("Active", "2/2")

    # For longer than `leaveSeconds`.
    await consistently(goes_on, 3)
    assert "Reconnecting" not in [step.phase for step in (await rig.kube.match()).status.history]


def _listener(entry: dict[str, str], listener: list[Person]) -> Person:
    """Alice, who may not publish."""
    alice = Person(entry["url"], entry["token"], identity="alice", audio=False)
    listener.append(alice)
    return alice


def _claims(rig: Rig, token: str) -> dict[str, Any]:
    """Return the claims of a token; our own clock is not checked, because another one has set its times."""
    options: Any = {"verify_nbf": False, "verify_exp": False}
    claims: dict[str, Any] = jwt.decode(token, rig.where.livekit_api_secret, algorithms=["HS256"], options=options)
    return claims
