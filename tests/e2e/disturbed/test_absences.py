"""The operator is away, or Redis loses everything, while calls continue: the operator catches up afterwards."""

from __future__ import annotations

from controller.api.endings import EndReason
from controller.api.match import Match, QueuePlace
from controller.clients.redis.mark import parse_fence
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
from tests.support.rig import Rig
from tests.support.waiting import eventually


async def test_the_next_operator_notices_a_user_who_left_while_there_was_none(rig: Rig) -> None:
    """The next operator cannot know that it was a goodbye, because no operator received LiveKit's webhook."""
    places = await rig.enqueue("alice", "bob")
    operator = await rig.operators.start()
    _, (alice, bob) = await rig.active(timeouts={"leaveSeconds": 2, "reconnectSeconds": 2})
    await operator.kill()
    await bob.leave()
    await operator.start()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert over.status.end.reason in {"Left", "NetworkLost"}
    assert [(one.identity, one.state) for one in over.status.end.outcomes] == [("alice", "Waiting"), ("bob", "Idle")]
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert (await rig.queue())["alice"] > max(places)
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_a_user_who_leaves_and_is_back_before_the_next_operator_never_left(rig: Rig) -> None:
    operator = await rig.operators.start()
    match, (_, bob) = await rig.active(timeouts={"leaveSeconds": 1, "reconnectSeconds": 1})
    token = (await rig.tokens(match))["bob"]["token"]
    await operator.kill()
    await bob.leave()
    await rig.people("bob", token).join()
    await operator.start()

    async def is_noticed() -> Match:
        found = await rig.kube.match()
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


async def test_the_next_operator_reads_the_signals_sent_meanwhile(rig: Rig) -> None:
    """Signals are sent while there is no operator. Only calls that are up exist, and all signals are about them."""
    pairs = {name: (f"{name}-1", f"{name}-2") for name in ("one", "two", "three", "four")}
    await rig.enqueue(*(user for pair in pairs.values() for user in pair))
    operator = await rig.operators.start()
    made = {name: await rig.ready(*pair, name=name) for name, pair in pairs.items()}
    assert await operator.end() == 0
    await send(rig, "skip", "one-1", match=made["one"].metadata.uid)
    await send(rig, "skip", "two-1")
    await operator.start()
    await eventually(operator.leads)
    for name in ("one", "two"):
        await _is_skipped(rig, name)
    assert await operator.end() == 0
    await operator.start()
    await eventually(operator.leads)
    await send(rig, "skip", "three-1")
    await _is_skipped(rig, "three")
    await raise_flag(rig, "skip-in-progress", "four-1")
    await _is_skipped(rig, "four")


async def test_an_operator_reads_a_flag_even_if_it_has_seen_nothing_else(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    operator = await rig.operators.start()
    await rig.ready()
    assert await operator.end() == 0
    await raise_flag(rig, "skip-in-progress", "bob")
    await operator.start()
    await _is_skipped(rig, "match")


async def test_a_waiting_user_whose_browser_dies_after_a_restart_leaves_the_queue(rig: Rig) -> None:
    """There is no Match in the pool, only the queue."""
    await rig.enqueue("alice", "bob")
    async with Beats(rig.gateway, "alice", "bob") as gateway:
        operator = await rig.operators.start(heartbeat_seconds="0.5", heartbeat_misses="3")
        await eventually(operator.leads)
        gateway.stop("bob")
        await rig.expect_states(bob="IDLE")
        assert list(await rig.queue()) == ["alice"]
    assert (await rig.user("bob")).reason == "Silent"


async def test_a_skip_replaces_the_goodbye_that_a_killed_operator_had_recorded(rig: Rig) -> None:
    """Until the users are released, a more precise reason may replace the recorded one."""
    await rig.enqueue("alice", "bob")
    operator = await rig.operators.start()
    match, (_, bob) = await rig.active(timeouts={"leaveSeconds": 20})
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.reason == "Left")
    await operator.kill()
    # As an earlier version recorded it: without the destinations of the users.
    message, evidence = "bob left and did not come back within 20 s", '{"code": "Left", "subject": ["bob"]}'
    await _record_end(rig, operator, match, "Left", message, evidence)
    await rig.kube.patch("Match", "match", manifests.termination("Skip", "bob", "next"))
    await operator.start()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.end.reason, over.status.end.initiator) == ("Skipped", "bob")
    await rig.expect_states(alice="WAITING", bob="WAITING")


async def test_a_user_who_hangs_up_at_the_end_does_not_count_as_a_no_show(rig: Rig) -> None:
    """The operator dies after it has recorded that bob never came. When the next one settles, alice is gone too."""
    (place, _) = await rig.enqueue("alice", "bob")
    operator = await rig.operators.start()
    match = await rig.ready()
    tokens = await rig.tokens(match)
    alice = rig.people("alice", tokens["alice"]["token"])
    await alice.join()
    await rig.kube.match_until(lambda found: found.status.connected == "1/2")
    await operator.kill()
    found = EndCause(EndReason.NO_SHOW, EndReason.NO_SHOW, "bob did not join within 25 s", subject=frozenset({"bob"}))
    decided = (
        Release("alice", Destination.WAITING, QueuePlace.NOW),
        Release("bob", Destination.IDLE, QueuePlace.NOW, "NeverSeen"),
    )
    await _record_end(rig, operator, match, found.reason, found.message, found.evidence(decided))
    await alice.leave()
    await operator.start()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert [(one.identity, one.state, one.detail) for one in over.status.end.outcomes] == [
        ("alice", "Waiting", None),
        ("bob", "Idle", "NeverSeen"),
    ]
    assert (await rig.queue())["alice"] > place


async def test_a_call_that_outlived_a_loss_of_redis_ends_as_any_other(rig: Rig) -> None:
    """The operator restores it from the Match and requeues each user once, behind those who came meanwhile."""
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    match, people = await rig.active()
    await rig.redis.delete(*[key async for key in rig.redis.scan_iter(rig.keys.pattern)])
    (carol,) = await rig.enqueue("carol")
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await send(rig, "skip", "alice", match=match.metadata.uid)
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.end.reason, over.status.end.initiator) == ("Skipped", "alice")
    assert [(one.state, one.place) for one in over.status.end.outcomes] == [("Waiting", "Now")] * 2
    queue = await rig.queue()
    assert list(queue) == ["carol", *sorted(queue, key=queue.__getitem__)[1:]]
    assert (queue["carol"], sorted(queue)) == (carol, ["alice", "bob", "carol"])
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    # Restored as IN_CALL, then DISCONNECTING, then WAITING: no user was released twice.
    assert [(await rig.hash(rig.keys.user(user)))["epoch"] for user in ("alice", "bob")] == ["3", "3"]


async def _is_skipped(rig: Rig, name: str) -> None:
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), name)
    assert (over.status.phase, over.status.reason) == ("Ended", "Skipped")
    assert set((await rig.states(*over.spec.identities)).values()) == {"WAITING"}


async def _record_end(rig: Rig, operator: Operator, match: Match, reason: str, message: str, evidence: str) -> None:
    """Write what the first step of an ending writes, as if the operator had died right after it."""
    incarnation = await rig.redis.get(rig.keys.incarnation())
    epoch, _ = parse_fence(str(await rig.redis.get(rig.keys.fence(0))))
    pool = Pool(rig.gateway.redis, rig.keys, 0, epoch, str(incarnation))
    cause = Cause(reason, "", message, evidence)
    uid = match.metadata.uid
    assert not operator.running
    reply = await pool.settle(SettleRequest(uid, uid, (), cause, final=False), now_ms=0)
    assert "SettleOk" in type(reply).__name__, reply
