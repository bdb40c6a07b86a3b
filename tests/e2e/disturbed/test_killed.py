"""The operator is killed in the middle of its work and started again: the same end, one room, no user lost.

Each test freezes the other side to stop the operator at a certain point: it has sent a request and gets no answer. Once
thawed, the other side still executes the request of the dead operator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from controller.api.names import room_name, token_secret_name
from sandbox.people import Person
from tests import manifests
from tests.support.chaos import frozen
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

# Twice as long as a test waits for anything: no operator gets the lease by waiting until that of a killed one ends.
_LONG_LEASE = {"lease_seconds": "60"}

KillAt = Callable[[Rig, Operator], Awaitable[None]]


async def _before_the_claim(rig: Rig, operator: Operator) -> None:
    """Return when the claim is on its way to Redis."""
    with frozen(rig.where, "redis-server"):
        await rig.kube.create(manifests.match())
        await rig.kube.match_until(lambda match: bool(match.metadata.finalizers))
        await operator.kill()


async def _while_the_livekit_room_is_made(rig: Rig, operator: Operator) -> None:
    """Return when the users are claimed, the Room exists, and CreateRoom was sent."""
    with frozen(rig.where, "livekit-server"):
        await rig.kube.create(manifests.match())
        await _room_object_is_there(rig)
        await operator.kill()


async def _while_the_tokens_are_handed_out(rig: Rig, operator: Operator) -> None:
    """Return when the users are claimed and the tokens are in one of their two places."""
    await rig.kube.create(manifests.match(tokens={"delivery": "Both"}))

    async def begun() -> None:
        secret = token_secret_name((await rig.kube.match()).metadata.uid)
        claimed = await rig.redis.exists(rig.keys.user("alice"))
        assert claimed or await rig.kube.get("Secret", secret) is not None

    await eventually(begun)
    await operator.kill()


async def _when_it_is_ready(rig: Rig, operator: Operator) -> None:
    """Return when the Match is Ready and no participant has joined."""
    await rig.ready()
    await operator.kill()


KILLED_BEFORE_THE_CALL = {
    "before the claim": _before_the_claim,
    "while the LiveKit room is made": _while_the_livekit_room_is_made,
    "while the tokens are handed out": _while_the_tokens_are_handed_out,
    "when it is ready": _when_it_is_ready,
}


@pytest.mark.parametrize("kill_at", KILLED_BEFORE_THE_CALL.values(), ids=KILLED_BEFORE_THE_CALL)
async def test_a_call_comes_up_whenever_the_operator_was_killed(rig: Rig, kill_at: KillAt) -> None:
    places = await rig.enqueue("alice", "bob")
    operator = await rig.operators.start(**_LONG_LEASE)
    await _is_leader(operator)
    await kill_at(rig, operator)
    await operator.start()
    await _is_leader(operator)

    match = await rig.kube.match_until(lambda found: is_true(found, "Ready"))
    assert [person.queued_at is not None for person in match.status.participants] == [True, True]
    await rig.join(match)
    match = await rig.kube.match_until(lambda found: found.status.phase == "Active")
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await _only_one_room(rig, match.metadata.uid)
    await rig.delete()
    queue = await rig.queue()
    assert sorted(queue) == ["alice", "bob"]
    assert min(queue.values()) > max(places)


async def test_people_who_join_while_there_is_no_operator_are_seen_by_the_next(rig: Rig) -> None:
    operator = await rig.operators.start(**_LONG_LEASE)
    match = await rig.ready()
    await operator.kill()
    await rig.join(match)
    await operator.start()
    match = await rig.kube.match_until(lambda found: found.status.phase == "Active")
    assert match.status.connected == "2/2"
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")


async def test_a_call_goes_on_without_an_operator(rig: Rig) -> None:
    operator = await rig.operators.start(**_LONG_LEASE)
    before, people = await rig.active()
    seen = [len(person.events) for person in people]
    await operator.kill()
    await operator.start()
    await _is_leader(operator)
    await rig.kube.patch("Match", "match", {"metadata": {"annotations": {"example.com/look": "again"}}})
    await _has_reconciled(operator)
    after = await rig.kube.match()
    assert (after.status.phase, after.status.room) == ("Active", before.status.room)
    assert after.status.connected_at == before.status.connected_at
    assert after.status.history == before.status.history
    for person, count in zip(people, seen, strict=True):
        assert not person.seen("disconnected", "reconnecting", "participant_disconnected", after=count)


async def _while_the_users_are_let_go(rig: Rig, operator: Operator) -> None:
    """Return when the first write of the ending is on its way to Redis."""
    with frozen(rig.where, "redis-server"):
        await rig.kube.delete("Match", "match")
        await operator.kill()


async def _while_the_livekit_room_is_closed(rig: Rig, operator: Operator) -> None:
    """Return when the users are settled and DeleteRoom was sent."""
    with frozen(rig.where, "livekit-server"):
        await rig.kube.delete("Match", "match")
        await rig.expect_states(alice="WAITING", bob="WAITING")
        await operator.kill()


async def _before_anything_is_done(rig: Rig, operator: Operator) -> None:
    await operator.kill()
    await rig.kube.delete("Match", "match")


KILLED_AT_THE_END = {
    "before anything is done": _before_anything_is_done,
    "while the users are let go": _while_the_users_are_let_go,
    "while the LiveKit room is closed": _while_the_livekit_room_is_closed,
}


@pytest.mark.parametrize("kill_at", KILLED_AT_THE_END.values(), ids=KILLED_AT_THE_END)
async def test_a_call_is_cleaned_up_whenever_the_operator_was_killed(rig: Rig, kill_at: KillAt) -> None:
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    operator = await rig.operators.start(**_LONG_LEASE)
    match, people = await rig.active()
    await kill_at(rig, operator)
    settled = await rig.hash(rig.keys.match(match.metadata.uid))
    queue = await rig.queue() if settled.get("settled") else {}
    await operator.start()
    await rig.kube.gone("Match", "match")
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}
    after = await rig.queue()
    assert all(after[identity] > place for identity, place in places.items())
    # The second operator does not release users again whom the first one has released.
    assert queue in ({}, after)
    for person in people:
        assert (await _end_of(person))["reason"] == "ROOM_DELETED"
    assert await rig.livekit_rooms() == {}


async def test_an_operator_that_is_killed_again_and_again_gets_there_too(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    operator = rig.operators.make(**_LONG_LEASE)
    # Four starts take longer than a Match may usually take to be ready.
    await rig.kube.create(manifests.match(timeouts={"readySeconds": 300}))
    for _ in range(3):
        await operator.start()
        await operator.kill()
    await operator.start()
    match = await rig.kube.match_until(lambda found: is_true(found, "Ready"))
    await _only_one_room(rig, match.metadata.uid)
    await rig.delete()
    assert sorted(await rig.queue()) == ["alice", "bob"]


async def _room_object_is_there(rig: Rig) -> None:
    async def is_there() -> None:
        name = room_name((await rig.kube.match()).metadata.uid)
        assert await rig.kube.get("Room", name) is not None
        assert (await rig.user("alice")).state == "CONNECTING"

    await eventually(is_there)


async def _only_one_room(rig: Rig, match_uid: str) -> None:
    # A Match may be Ready a moment before its Room says so.
    room = await rig.kube.room_until(lambda found: is_true(found, "Ready"), room_name(match_uid))
    assert [body["metadata"]["name"] for body in await rig.kube.list("Room")] == [room.metadata.name]
    assert [there.sid for there in (await rig.livekit_rooms()).values()] == [room.status.sid]


async def _is_leader(operator: Operator) -> None:
    """The operator leads, long before the lease of its dead predecessor would run out."""
    await eventually(operator.leads)


async def _has_reconciled(operator: Operator) -> None:
    async def has() -> None:
        assert (await operator.metrics())("roomkeeper_reconciles_total", result="ok") >= 2

    await eventually(has)


async def _end_of(person: Person) -> dict[str, object]:
    return await person.wait_for("disconnected")
