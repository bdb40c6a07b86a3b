"""Objects that disappear while no operator looks: their users are free again; a deletion says what it waits for."""

from __future__ import annotations

import asyncio

from livekit import api

from controller.api.names import PAUSED, room_name
from tests.support.chaos import frozen
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_STRIPPED = {"metadata": {"finalizers": None}}


async def test_users_of_a_match_whose_finalizers_were_taken_off_while_no_operator_ran_are_free_again(rig: Rig) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob", "carol", "dan", "eve", "frank")
    await rig.active()
    waited = {user: (await rig.user(user)).queued_at_ms for user in ("carol", "dan", "eve", "frank")}
    await rig.ready("carol", "dan", name="lost")
    await rig.ready("eve", "frank", name="damaged")
    matches = {name: await rig.kube.match(name) for name in ("match", "lost", "damaged")}
    rooms = [await rig.livekit_name(one) for one in matches.values()]
    await operator.kill()
    for called, one in matches.items():
        for kind, name in (("Match", called), ("Room", room_name(one.metadata.uid))):
            await rig.kube.delete(kind, name)
            await rig.kube.patch(kind, name, _STRIPPED)
            await rig.kube.gone(kind, name)
    # Of two Matches Redis has no ledger any longer that tells which users they held.
    await rig.redis.delete(
        rig.keys.match(matches["lost"].metadata.uid), rig.keys.match(matches["damaged"].metadata.uid)
    )
    await rig.redis.set(rig.keys.match(matches["damaged"].metadata.uid), "of another client")
    await operator.start()

    async def are_free() -> None:
        assert set((await rig.states("alice", "bob", *waited)).values()) == {"WAITING"}
        assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []

    await eventually(are_free, 60)
    assert {user: (await rig.user(user)).queued_at_ms for user in waited} == waited, "their own records know the places"
    assert "a match is gone that still held users" in operator.log
    assert "a match is gone and its ledger is lost" in operator.log
    # The rooms themselves would be closed a minute later.
    for name in rooms:
        await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


async def test_users_of_matches_whose_finalizers_are_taken_off_at_once_are_free_again(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.5")
    pairs = [(f"m{n}", f"a{n}", f"b{n}") for n in range(10)]
    users = [user for _, *pair in pairs for user in pair]
    await rig.enqueue(*users)
    await asyncio.gather(*(rig.ready(*pair, name=name) for name, *pair in pairs))
    for name, *_ in pairs:
        await rig.kube.delete("Match", name)
        await rig.kube.patch("Match", name, _STRIPPED)

    async def are_free() -> None:
        assert set((await rig.states(*users)).values()) == {"WAITING"}
        assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []

    await eventually(are_free, 60)


async def test_a_call_whose_finalizers_are_taken_off_while_livekit_is_frozen_ends_with_its_room(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.5", sweep_seconds="2")
    await rig.enqueue("alice", "bob")
    match, people = await rig.active()
    with frozen(rig.where, "livekit-server"):
        for kind, name in (("Match", "match"), ("Room", room_name(match.metadata.uid))):
            await rig.kube.delete(kind, name)
            await rig.kube.patch(kind, name, _STRIPPED)
            await rig.kube.gone(kind, name)

        async def are_free() -> None:
            assert set((await rig.states("alice", "bob")).values()) == {"WAITING"}
            assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []

        await eventually(are_free, 60)

    async def is_closed() -> None:
        assert await rig.livekit_rooms() == {}

    await eventually(is_closed, 90)
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert set((await rig.states("alice", "bob")).values()) == {"WAITING"}


async def test_the_deletion_of_a_paused_match_says_what_it_waits_for(rig: Rig) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.ready()
    match = await rig.kube.match("match")
    await rig.kube.patch("Match", "match", {"metadata": {"annotations": {PAUSED: "true"}}})
    paused = await rig.kube.match_until(lambda found: is_true(found, "Paused"))
    assert (paused.status.phase, paused.status.reason) == ("Connecting", "Paused")
    assert condition(paused, "Ready").status == "Unknown"
    room = await rig.kube.room_until(lambda found: is_true(found, "Paused"), room_name(match.metadata.uid))
    assert "its Match match has the annotation" in condition(room, "Paused").message
    await rig.kube.delete("Match", "match")
    await rig.kube.match_until(lambda found: "its deletion waits" in condition(found, "Paused").message)

    async def is_told() -> None:
        events = [event for event in await rig.events() if event["involvedObject"]["kind"] == "Match"]
        told = {(event["type"], event["reason"]): event["message"] for event in events}
        assert told["Warning", "DeletionPaused"].startswith("the deletion waits until")
        assert told["Normal", "Paused"].startswith(f"the annotation {PAUSED} is set")

    await eventually(is_told)
    await rig.kube.patch("Match", "match", {"metadata": {"annotations": {PAUSED: None}}})
    await rig.kube.gone("Match", "match")
