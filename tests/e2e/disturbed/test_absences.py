"""The operator is away, or Redis loses everything, while people go on: what was missed is made good afterwards."""

from __future__ import annotations

from controller.api.endings import EndReason
from controller.api.match import Match, QueuePlace
from controller.clients.redis.pool import Pool
from controller.clients.redis.requests import (
    SettleRequest,
)
from controller.facts.ledger import Cause, Destination, Release
from controller.rules.end_cause import EndCause
from tests import manifests
from tests.support.gateways import Beats, raise_flag, send
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.waiting import eventually
from tests.support.world import World


async def test_whoever_leaves_while_there_is_no_operator_is_missed_by_the_next(world: World) -> None:
    """That it was a goodbye is not to be had any more: LiveKit's webhooks found nobody."""
    places = await world.enqueue("alice", "bob")
    operator = await world.operators.start()
    _, (alice, bob) = await world.active(timeouts={"leaveSeconds": 2, "reconnectSeconds": 2})
    await operator.kill()
    await bob.leave()
    await operator.start()
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert over.status.end.reason in {"Left", "NetworkLost"}
    assert [(one.identity, one.state) for one in over.status.end.outcomes] == [("alice", "Waiting"), ("bob", "Idle")]
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert (await world.queue())["alice"] > max(places)
    await world.expect_states(alice="WAITING", bob="IDLE")


async def test_whoever_leaves_and_is_back_before_the_next_operator_never_left(world: World) -> None:
    operator = await world.operators.start()
    match, (_, bob) = await world.active(timeouts={"leaveSeconds": 1, "reconnectSeconds": 1})
    token = (await world.tokens(match))["bob"]["token"]
    await operator.kill()
    await bob.leave()
    await world.people("bob", token).join()
    await operator.start()

    async def is_noticed() -> Match:
        found = await world.kube.match()
        sids = [person.participant_sid for person in found.status.participants]
        assert sids != [person.participant_sid for person in match.status.participants]
        return found

    after = await eventually(is_noticed)
    assert (after.status.phase, after.status.connected, after.status.connected_at) == (
        "Active",
        "2/2",
        match.status.connected_at,
    )
    assert "Reconnecting" not in [step.phase for step in after.status.history]


async def test_what_gateways_say_is_heard_by_the_next_operator(world: World) -> None:
    """While there is none, and when nothing but calls that are up is there: the first word is about one of those."""
    pairs = {name: (f"{name}-1", f"{name}-2") for name in ("one", "two", "three", "four")}
    await world.enqueue(*(user for pair in pairs.values() for user in pair))
    operator = await world.operators.start()
    made = {name: await world.ready(*pair, name=name) for name, pair in pairs.items()}
    assert await operator.end() == 0
    await send(world, "skip", "one-1", match=made["one"].metadata.uid)
    await send(world, "skip", "two-1")
    await operator.start()
    await eventually(operator.leads)
    for name in ("one", "two"):
        await _is_skipped(world, name)
    assert await operator.end() == 0
    await operator.start()
    await eventually(operator.leads)
    await send(world, "skip", "three-1")
    await _is_skipped(world, "three")
    await raise_flag(world, "skip-in-progress", "four-1")
    await _is_skipped(world, "four")


async def test_a_flag_is_the_first_word_that_an_operator_hears(world: World) -> None:
    await world.enqueue("alice", "bob")
    operator = await world.operators.start()
    await world.ready()
    assert await operator.end() == 0
    await raise_flag(world, "skip-in-progress", "bob")
    await operator.start()
    await _is_skipped(world, "match")


async def test_a_waiting_user_whose_browser_dies_after_a_restart_leaves_the_queue(world: World) -> None:
    """No Match has been looked at yet: the queue is all that there is."""
    await world.enqueue("alice", "bob")
    async with Beats(world.gateway, "alice", "bob") as gateway:
        operator = await world.operators.start(heartbeat_seconds="0.5", heartbeat_misses="3")
        await eventually(operator.leads)
        gateway.stop("bob")
        await world.expect_states(bob="IDLE")
        assert list(await world.queue()) == ["alice"]
    assert (await world.user("bob")).reason == "Silent"


async def test_a_skip_replaces_the_goodbye_that_a_killed_operator_had_recorded(world: World) -> None:
    """Until the users are let go the reason may become a better one."""
    await world.enqueue("alice", "bob")
    operator = await world.operators.start()
    match, (_, bob) = await world.active(timeouts={"leaveSeconds": 20})
    await bob.leave()
    await world.kube.match_until(lambda found: found.status.reason == "Left")
    await operator.kill()
    # As an earlier version recorded it: without where everybody goes.
    message, evidence = "bob left and did not come back within 20 s", '{"code": "Left", "subject": ["bob"]}'
    await _record_end(world, operator, match, "Left", message, evidence)
    await world.kube.patch("Match", "match", manifests.termination("Skip", "bob", "next"))
    await operator.start()
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.end.reason, over.status.end.initiator) == ("Skipped", "bob")
    await world.expect_states(alice="WAITING", bob="WAITING")


async def test_whoever_hangs_up_as_told_is_not_taken_for_somebody_who_never_came(world: World) -> None:
    """The operator dies after it has recorded that bob never came; the next one settles, and alice is gone by then."""
    (place, _) = await world.enqueue("alice", "bob")
    operator = await world.operators.start()
    match = await world.ready()
    tokens = await world.tokens(match)
    alice = world.people("alice", tokens["alice"]["token"])
    await alice.join()
    await world.kube.match_until(lambda found: found.status.connected == "1/2")
    await operator.kill()
    found = EndCause(EndReason.NO_SHOW, EndReason.NO_SHOW, "bob did not join within 25 s", subject=frozenset({"bob"}))
    decided = (
        Release("alice", Destination.WAITING, QueuePlace.NOW),
        Release("bob", Destination.IDLE, QueuePlace.NOW, "NeverSeen"),
    )
    await _record_end(world, operator, match, found.reason, found.message, found.evidence(decided))
    await alice.leave()
    await operator.start()
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert [(one.identity, one.state, one.detail) for one in over.status.end.outcomes] == [
        ("alice", "Waiting", None),
        ("bob", "Idle", "NeverSeen"),
    ]
    assert (await world.queue())["alice"] > place


async def test_a_call_that_outlived_a_loss_of_redis_ends_as_any_other(world: World) -> None:
    """Restored from the Match, and each user requeued once: who were in a call behind those who came meanwhile."""
    await world.operators.start()
    await world.enqueue("alice", "bob")
    match, people = await world.active()
    await world.redis.delete(*[key async for key in world.redis.scan_iter(f"{world.keys.prefix}*")])
    (carol,) = await world.enqueue("carol")
    await world.expect_states(alice="IN_CALL", bob="IN_CALL")
    await send(world, "skip", "alice", match=match.metadata.uid)
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.end.reason, over.status.end.initiator) == ("Skipped", "alice")
    assert [(one.state, one.place) for one in over.status.end.outcomes] == [("Waiting", "Now")] * 2
    queue = await world.queue()
    assert list(queue) == ["carol", *sorted(queue, key=queue.__getitem__)[1:]]
    assert (queue["carol"], sorted(queue)) == (carol, ["alice", "bob", "carol"])
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    # Restored as IN_CALL, DISCONNECTING, WAITING: nobody was let go twice.
    assert [(await world.hash(world.keys.user(user)))["epoch"] for user in ("alice", "bob")] == ["3", "3"]


async def _is_skipped(world: World, name: str) -> None:
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"), name)
    assert (over.status.phase, over.status.reason) == ("Ended", "Skipped")
    assert set((await world.states(*over.spec.identities)).values()) == {"WAITING"}


async def _record_end(world: World, operator: Operator, match: Match, reason: str, message: str, evidence: str) -> None:
    """What the first of the steps that end a call writes, and the operator died right after it."""
    incarnation = await world.redis.get(world.keys.incarnation())
    epoch = int(await world.redis.get(world.keys.fence(0)) or 0)
    pool = Pool(world.gateway.redis, world.keys, 0, epoch, str(incarnation))
    cause = Cause(reason, "", message, evidence)
    uid = match.metadata.uid
    assert not operator.running
    reply = await pool.settle(SettleRequest(uid, uid, (), cause, final=False), now_ms=0)
    assert "SettleOk" in type(reply).__name__, reply
