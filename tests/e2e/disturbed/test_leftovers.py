"""What is left of objects that went without the operator is cleaned up by its sweeps, or by `roomkeeper sweep`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from controller.api.names import room_name
from controller.clients.redis.keys import sweep_lock_key
from controller.settings import Settings
from tests.cli.support import Done, run
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

_STRIPPED = {"metadata": {"finalizers": None}}
_GONE = "u-of-a-match-that-is-gone"


async def sweep(operator: Operator, rig: Rig, *flags: str) -> Done:
    """`roomkeeper sweep` with the operator's settings, as it runs in its pod."""
    arguments = ("sweep", "-n", rig.kube.namespace, *flags)
    return await asyncio.to_thread(run, *arguments, environment=operator.environment)


async def by_hand(operator: Operator, rig: Rig, *flags: str) -> tuple[int, dict[str, Any]]:
    """The exit status of `roomkeeper sweep` with the operator's settings, and its report."""
    done = await sweep(operator, rig, "-o", "json", *flags)
    assert done.out, done.err
    return done.status, json.loads(done.out)


async def test_a_namespace_that_went_while_no_operator_ran_leaves_no_user_held_and_no_room_open(rig: Rig) -> None:
    """Its finalizers were taken off by hand. Other leftovers are found by a deep sweep and by hand."""
    operator = await rig.operators.start(poll_seconds="0.5", sweep_seconds="2")
    # A deep sweep for another test on the same Redis may have ended a minute ago; the next one would wait for an hour.
    async for notes in rig.redis.scan_iter(f"*{rig.where.cluster_id}*sweeps:*"):
        await rig.redis.delete(notes)
    await rig.enqueue("alice", "bob", "carol", "dan")
    match, _ = await rig.active()
    await operator.kill()
    # Redis still gives carol to a call that is gone, and has a key of dan that nothing would ever remove.
    carol, session = rig.keys.user("carol"), rig.keys.session("of-long-ago")
    await rig.redis.zrem(rig.keys.queue(), "carol")
    await rig.redis.hset(carol, mapping={"state": "IN_CALL", "match": _GONE, "matchName": "gone", "since": "1"})
    await rig.redis.set(session, _GONE)
    await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{rig.kube.namespace}")
    for kind, called in (("Match", "match"), ("Room", room_name(match.metadata.uid))):
        await rig.kube.patch(kind, called, _STRIPPED)
        await rig.kube.gone(kind, called)

    status, report = await by_hand(operator, rig, "--dry-run", "--force")
    found = {(one["type"], one["id"]) for one in report["leftovers"]}
    assert status == 0
    assert {("users", "carol"), ("sessions", "of-long-ago"), ("matches", match.metadata.uid)} <= found
    assert {kind for kind, _ in found} >= {"rooms"}
    assert (await rig.user("carol")).match == _GONE, "a dry run changes nothing"

    await operator.start()

    async def is_clean() -> None:
        assert not {state for state in (await rig.states("alice", "bob", "carol")).values() if state == "IN_CALL"}
        assert await rig.redis.zrange(rig.keys.live(), 0, -1) == []
        assert await rig.livekit_rooms() == {}

    await eventually(is_clean, 120)
    assert (await rig.user("alice")).reason == "Deleted"
    assert await rig.redis.exists(session), "it is too young for the operator"

    async def has_ended() -> None:
        metrics = await operator.metrics()
        assert metrics("roomkeeper_sweep_last_success_timestamp_seconds", sweep="deep") > 0

    await eventually(has_ended)
    status, report = await by_hand(operator, rig, "--type", "sessions", "--id", "of-long-ago", "--force")
    assert (status, [one["outcome"] for one in report["leftovers"]]) == (0, ["done"])
    assert not await rig.redis.exists(session)
    metrics = await operator.metrics()
    assert metrics("roomkeeper_sweep_cleaned_total", type="users") >= 1
    assert report["operator"]["types"]["users"]["cleaned"] >= 1
    assert report["operator"]["sweeps"]["deep"]["runs"] >= 1


async def test_force_takes_over_from_another_sweep_and_cleans_what_is_young(rig: Rig) -> None:
    """Without it, the command says who sweeps and changes nothing; once it may work, it leaves alone what is young."""
    operator = await rig.operators.start()
    await rig.enqueue("carol")
    await operator.kill()
    carol, session = rig.keys.user("carol"), rig.keys.session("young")
    await rig.redis.zrem(rig.keys.queue(), "carol")
    await rig.redis.hset(carol, mapping={"state": "IN_CALL", "match": _GONE, "matchName": "gone", "since": "1"})
    await rig.redis.set(session, _GONE)
    lease = f"{operator.environment['ROOMKEEPER_NAMESPACE']}/{Settings.model_fields['lease_name'].default}"
    lock = sweep_lock_key(rig.where.cluster_id, lease)
    await rig.redis.set(lock, "by hand on a laptop", ex=300)

    refused = await sweep(operator, rig)
    assert (refused.status, refused.err) == (1, "roomkeeper: another sweep works: by hand on a laptop\n")
    assert "carol" in refused.out, "what is left over is shown all the same"
    assert "young" not in refused.out
    assert (await rig.user("carol")).match == _GONE
    assert await rig.redis.get(lock) == "by hand on a laptop"

    forced = await sweep(operator, rig, "--force")
    told = "--force: another sweep is interrupted, and young leftovers are cleaned as old ones"
    assert (forced.status, forced.err) == (0, f"roomkeeper: {told}\n")
    assert "2 cleaned." in forced.out
    assert (await rig.user("carol")).match == ""
    assert not await rig.redis.exists(session, lock)
