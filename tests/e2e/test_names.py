"""Names that are used again, users that two Matches want, and the ways in which a Match is deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller.api.names import API_VERSION, FINALIZER, room_name, token_secret_name
from sandbox.administrator import Refused
from tests import manifests
from tests.support.invariants import tidy
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

_ROUNDS = 5


@pytest.mark.parametrize("waits", [True, False], ids=["when it is ready", "at once"])
async def test_a_match_is_deleted_and_made_again_under_its_name(rig: Rig, waits: bool) -> None:
    await rig.enqueue("alice", "bob")
    uids = []
    for _ in range(_ROUNDS):
        await rig.kube.create(manifests.match(admission="Queued"))
        if waits:
            await rig.kube.match_until(lambda match: is_true(match, "Ready"))
        uids.append((await rig.kube.match()).metadata.uid)
        await rig.delete()
    assert len(set(uids)) == _ROUNDS
    last = await rig.ready(admission="Queued")
    assert last.metadata.uid not in uids
    assert (await rig.user("alice")).match == last.metadata.uid
    assert len(await rig.livekit_rooms()) == 1
    assert len(await rig.kube.list("Room")) == 1


async def test_a_name_is_free_once_the_last_match_of_it_is_gone(rig: Rig) -> None:
    """A client that does not wait is refused while the old Match exists, and never gets a mixture of the two."""
    await rig.enqueue("alice", "bob")
    first = await rig.ready()
    await rig.kube.delete("Match", "match")

    async def created() -> None:
        try:
            await rig.kube.create(manifests.match("alice", "carol"))
        except Refused as refused:
            raise AssertionError(str(refused)) from refused

    await eventually(created)
    second = await rig.kube.match_until(lambda match: is_true(match, "Ready"))
    assert second.metadata.uid != first.metadata.uid
    await rig.expect_states(alice="CONNECTING", bob="WAITING", carol="CONNECTING")
    assert len(await rig.livekit_rooms()) == 1


async def test_two_who_hang_up_at_the_end_can_be_in_the_next_match_of_the_same_name(rig: Rig) -> None:
    """LiveKit's webhooks about their departure are about the previous room, so no user counts as having left."""
    first, before = await rig.active()
    await rig.delete()
    second, after = await rig.active(timeouts={"leaveSeconds": 0})
    for person in before:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert second.metadata.uid != first.metadata.uid
    assert second.status.room is not None
    assert first.status.room is not None
    assert second.status.room.livekit_name != first.status.room.livekit_name

    async def goes_on() -> None:
        match = await rig.kube.match()
        assert (match.status.phase, match.status.connected) == ("Active", "2/2")
        assert await rig.states("alice", "bob") == {"alice": "IN_CALL", "bob": "IN_CALL"}

    await consistently(goes_on, 2)
    assert not any(person.seen("disconnected") for person in after)


async def test_exactly_one_of_two_matches_gets_the_user_that_both_want(rig: Rig) -> None:
    places = dict(zip(("alice", "bob", "carol"), await rig.enqueue("alice", "bob", "carol"), strict=True))
    await asyncio.gather(
        rig.kube.create(manifests.match("alice", "bob", name="one")),
        rig.kube.create(manifests.match("bob", "carol", name="two")),
    )
    rivals = {"one": "alice", "two": "carol"}
    for name in rivals:
        await rig.kube.match_until(lambda match: is_true(match, "Ready") or is_true(match, "Finished"), name)
    matches = [await rig.kube.match(name) for name in rivals]
    (winner,) = [match for match in matches if is_true(match, "Ready")]
    (loser,) = [match for match in matches if is_true(match, "Finished")]
    assert (loser.status.phase, loser.status.reason) == ("Failed", "UserBusy")
    for kind in ("Accepted", "Ready"):
        verdict = condition(loser, kind)
        assert (verdict.status, verdict.reason) == ("False", "UserBusy")
        assert f"bob is in another match, {rig.kube.namespace}/{winner.metadata.name}" in verdict.message
    partner = rivals[loser.metadata.name]
    assert await rig.queue() == {partner: places[partner]}
    assert (await rig.user("bob")).match == winner.metadata.uid
    assert len(await rig.livekit_rooms()) == 1


async def test_many_matches_at_once_each_get_their_users(rig: Rig) -> None:
    pairs = [(f"a-{number}", f"b-{number}") for number in range(12)]
    await asyncio.gather(*(rig.ready(*pair, name=f"match-{number}") for number, pair in enumerate(pairs)))
    assert len(await rig.livekit_rooms()) == len(pairs)
    await asyncio.gather(*(rig.delete(f"match-{number}") for number in range(len(pairs))))
    assert await rig.livekit_rooms() == {}


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"admission": "Queued"}, "UserNotQueued"), ({}, "UserBlocked")],
    ids=["who does not wait", "who is blocked"],
)
async def test_unavailable_users_are_named(rig: Rig, given: dict[str, Any], reason: str) -> None:
    await rig.enqueue("alice")
    if reason == "UserBlocked":
        await rig.redis.set(rig.keys.blocked("bob"), "1", ex=60)
    before = await rig.queue()
    await rig.kube.create(manifests.match(**given))
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Failed", reason)
    assert "bob" in condition(match, "Accepted").message
    assert await rig.queue() == before
    assert await rig.livekit_rooms() == {}


@pytest.mark.parametrize("propagation", ["Foreground", "Orphan"])
async def test_however_a_match_is_deleted_everything_of_it_goes(rig: Rig, propagation: str) -> None:
    await rig.enqueue("alice", "bob")
    _, people = await rig.active()
    await rig.kube.delete("Match", "match", propagation=propagation)
    await rig.kube.gone("Match", "match")
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}


async def test_a_namespace_with_a_live_match_goes(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    await rig.active()
    await rig.ready("carol", "dave", name="second")
    await rig.kube.create(manifests.room())
    path = f"/api/v1/namespaces/{rig.kube.namespace}"
    await rig.kube.admin.call("DELETE", path)

    async def is_gone() -> None:
        try:
            found = await rig.kube.admin.call("GET", path)
        except Refused as refused:
            assert refused.status == 404  # noqa: PT017 (waited for, not expected at once)
        else:
            raise AssertionError(f"the namespace is still there: {found['status']}")

    await eventually(is_gone, 40)
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}
    assert await rig.livekit_rooms() == {}


@pytest.mark.parametrize("managed", [False])
async def test_without_the_admission_policy_the_operator_adds_its_finalizer(rig: Rig, managed: bool) -> None:
    manifest = manifests.match(meta={"finalizers": ["example.com/theirs"]})
    made = await rig.kube.create(manifest)
    assert made["metadata"]["finalizers"] == ["example.com/theirs"]
    match = await rig.kube.match_until(lambda found: is_true(found, "Ready"))
    assert sorted(match.metadata.finalizers) == ["example.com/theirs", FINALIZER]
    await rig.kube.delete("Match", "match")
    # The operator removes its own finalizer in the end, and leaves that of another controller alone.
    await rig.kube.match_until(lambda found: found.metadata.finalizers == ("example.com/theirs",))
    await rig.kube.patch("Match", "match", {"metadata": {"finalizers": None}})
    await rig.kube.gone("Match", "match")


async def test_objects_that_are_copied_into_another_namespace_make_a_call_of_their_own(rig: Rig) -> None:
    """As with `kubectl get -o yaml` and the name of another namespace: owners, finalizers and status are copied too."""
    await rig.enqueue("alice", "bob")
    match, _ = await rig.active()
    parts = (
        ("Match", "match"),
        ("Room", room_name(match.metadata.uid)),
        ("Secret", token_secret_name(match.metadata.uid)),
    )
    copies = [await rig.kube.get(*part) for part in parts]
    for kind, copy in zip(("Match", "Room", "Secret"), copies, strict=True):
        assert copy is not None
        copy["kind"], copy["apiVersion"] = kind, "v1" if kind == "Secret" else API_VERSION
        for field in ("namespace", "resourceVersion", "managedFields"):
            copy["metadata"].pop(field, None)
    namespace = f"copy-of-{rig.kube.namespace}"[:60]
    await rig.kube.admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    other = rig.beside(namespace)
    await other.kube.apply(*filter(None, copies))

    copied = await other.kube.match_until(lambda found: is_true(found, "Ready"))
    assert copied.metadata.uid != match.metadata.uid
    for part in parts[1:]:
        await other.kube.gone(*part)

    async def has_its_own_room() -> None:
        assert set(await other.livekit_rooms()) == {await other.livekit_name(copied)}

    await eventually(has_its_own_room)
    assert set(await other.tokens(copied)) == {"alice", "bob"}
    await other.expect_states(alice="CONNECTING", bob="CONNECTING")

    after = await rig.kube.match()
    assert (after.status.phase, after.status.connected) == ("Active", "2/2")
    assert await rig.livekit_people(await rig.livekit_name(match)) == {"alice", "bob"}
    assert set(await rig.tokens(match)) == {"alice", "bob"}
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await tidy(other)
    await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{namespace}")
