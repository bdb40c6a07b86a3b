"""The Lease among several replicas, in virtual time and on an API in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from controller.backends.identity import ReplicaIdentity
from controller.backends.lease import HANDOVER, LEASES, Leadership, LeaseTimes, Predecessor
from controller.errors import Backend, BackendUnavailable, LeadershipLost
from tests.loop.kubernetes import MemoryKubernetes
from tests.virtual_time import VirtualTime, run

NAME = "shard-0"
TIMES = LeaseTimes(duration_seconds=15.0, renew_seconds=3.0, retry_seconds=1.0, request_seconds=4.0)


def identity(pod: str) -> ReplicaIdentity:
    """A replica in a pod of that name."""
    return ReplicaIdentity(pod, boot="b00t", pid_namespace="1", pid=1, started_ticks="5", pod_uid=f"uid-of-{pod}")


async def nothing_remembered(_near: int) -> int:
    """A store that is empty."""
    return 0


class Rig:
    """One API and as many replicas as a test wants."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.kubernetes = MemoryKubernetes()

    def replica(self, pod: str, highest: Callable[[int], Awaitable[int]] = nothing_remembered) -> Leadership:
        """One more replica. `highest` tells the highest epoch that a store remembers."""
        client = self.kubernetes.client()
        return Leadership(client, self.time, identity(pod), namespace="system", name=NAME, times=TIMES, highest=highest)

    async def holding(self, pod: str) -> tuple[Leadership, asyncio.Task[None]]:
        """A replica that has the lease and renews it."""
        replica = self.replica(pod)
        await replica.acquire()
        return replica, asyncio.create_task(replica.hold())


def in_virtual_time(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario."""
    run(lambda time: scenario(Rig(time)))


def test_a_free_lease_is_taken_at_once_with_epoch_one() -> None:
    async def scenario(rig: Rig) -> None:
        replica = rig.replica("a")
        assert not replica.is_held
        assert await replica.acquire() == 1
        assert (replica.is_held, rig.time.seconds) == (True, 0)
        spec = rig.kubernetes.spec(NAME)
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == (str(identity("a")), 1)
        assert (spec["leaseDurationSeconds"], spec["renewTime"]) == (15, "2026-01-31T10:00:00.000000Z")

    in_virtual_time(scenario)


def test_a_lease_without_a_spec_is_free() -> None:
    """`kubectl create` makes one from a manifest without a spec."""

    async def scenario(rig: Rig) -> None:
        await rig.kubernetes.create(LEASES, "roomkeeper-system", {"metadata": {"name": NAME}})
        replica = rig.replica("a")
        assert await replica.acquire() == 1
        await replica.confirm()

    in_virtual_time(scenario)


def test_a_lease_is_taken_above_the_highest_epoch_that_a_store_remembers() -> None:
    async def scenario(rig: Rig) -> None:
        async def highest(near: int) -> int:
            return near + 42

        assert await rig.replica("a", highest).acquire() == 43

    in_virtual_time(scenario)


def test_a_store_that_does_not_answer_holds_up_no_lease() -> None:
    async def scenario(rig: Rig) -> None:
        async def refused(_near: int) -> int:
            raise BackendUnavailable(Backend.REDIS, "epoch", "no answer")

        async def silent(_near: int) -> int:
            await asyncio.sleep(60)
            return 42

        first = rig.replica("a", refused)
        assert (await first.acquire(), rig.time.seconds) == (1, 0)
        await first.release()
        assert await rig.replica("b", silent).acquire() == 2
        assert rig.time.seconds <= TIMES.request_seconds

    in_virtual_time(scenario)


@pytest.mark.parametrize("exists", [False, True])
def test_of_eight_takers_exactly_one_wins(exists: bool) -> None:
    async def scenario(rig: Rig) -> None:
        if exists:
            first = rig.replica("first")
            await first.acquire()
            await first.release()
        replicas = [rig.replica(f"pod-{number}") for number in range(8)]
        takers = [asyncio.create_task(replica.acquire()) for replica in replicas]
        await rig.time.settle()
        assert sum(replica.is_held for replica in replicas) == 1
        assert sum(taker.done() for taker in takers) == 1
        assert rig.kubernetes.spec(NAME)["leaseTransitions"] == (2 if exists else 1)
        for taker in takers:
            taker.cancel()

    in_virtual_time(scenario)


def test_a_holder_that_renews_is_never_overtaken() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        waiting = asyncio.create_task(rig.replica("b").acquire())
        await asyncio.sleep(300)
        assert (holder.is_held, waiting.done(), renewing.done()) == (True, False, False)
        waiting.cancel()
        renewing.cancel()

    in_virtual_time(scenario)


def test_a_holder_that_is_silent_is_succeeded_after_the_duration_and_one_call() -> None:
    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        await holder.acquire()
        successor = rig.replica("b")
        assert await successor.acquire() == 2
        assert 19 < rig.time.seconds <= 21
        assert not holder.is_held

    in_virtual_time(scenario)


def test_expiry_is_judged_by_our_own_clock_whatever_renew_time_says() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        rig.kubernetes.objects[NAME]["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
        waiting = asyncio.create_task(rig.replica("b").acquire())
        await asyncio.sleep(10)
        assert (holder.is_held, waiting.done()) == (True, False)
        waiting.cancel()
        renewing.cancel()

    in_virtual_time(scenario)


def test_a_lease_that_was_released_is_taken_at_the_next_look() -> None:
    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        await holder.acquire()
        waiting = asyncio.create_task(rig.replica("b").acquire())
        await asyncio.sleep(5)
        await holder.release()
        assert not holder.is_held
        assert rig.kubernetes.spec(NAME)["holderIdentity"] == ""
        assert await waiting == 2
        assert rig.time.seconds <= 6

    in_virtual_time(scenario)


def test_a_restarted_pod_does_not_wait_for_its_own_predecessor() -> None:
    async def scenario(rig: Rig) -> None:
        await rig.replica("a").acquire()
        assert await rig.replica("a").acquire() == 2
        assert rig.time.seconds == 0

    in_virtual_time(scenario)


def test_require_leaves_room_for_the_call_that_is_about_to_start() -> None:
    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        with pytest.raises(LeadershipLost):
            holder.require()
        await holder.acquire()
        await asyncio.sleep(10)
        holder.require(4.0)
        with pytest.raises(LeadershipLost):
            holder.require(5.0)
        holder.require()
        await asyncio.sleep(5)
        with pytest.raises(LeadershipLost):
            holder.require()

    in_virtual_time(scenario)


def test_renewal_keeps_the_epoch_and_the_time_of_taking() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        taken = rig.kubernetes.spec(NAME)["acquireTime"]
        await asyncio.sleep(40)
        spec = rig.kubernetes.spec(NAME)
        assert (spec["leaseTransitions"], spec["acquireTime"]) == (1, taken)
        assert spec["renewTime"] > taken
        assert rig.kubernetes.writes == 1 + 40 // 3
        assert holder.is_held
        renewing.cancel()

    in_virtual_time(scenario)


def test_a_holder_that_finds_the_lease_written_by_another_replica_has_lost_it() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        lease = rig.kubernetes.objects[NAME]
        lease["metadata"]["resourceVersion"] = "77"
        lease["spec"].update(holderIdentity="another replica", leaseTransitions=2)
        await renewing
        assert not holder.is_held
        with pytest.raises(LeadershipLost):
            holder.require()

    in_virtual_time(scenario)


def test_a_client_that_annotates_the_lease_takes_nothing_away_and_keeps_its_annotation() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        metadata = rig.kubernetes.objects[NAME]["metadata"]
        metadata.update(resourceVersion="77", annotations={"example.com/note": "mine"}, labels={"team": "calls"})
        await asyncio.sleep(30)
        assert (holder.is_held, holder.epoch, renewing.done()) == (True, 1, False)
        kept = rig.kubernetes.objects[NAME]["metadata"]
        assert (kept["annotations"]["example.com/note"], kept["labels"]) == ("mine", {"team": "calls"})
        renewing.cancel()

    in_virtual_time(scenario)


def test_a_renewal_whose_answer_is_lost_is_no_loss() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        rig.kubernetes.answers_lost = 1
        await asyncio.sleep(30)
        assert (holder.is_held, holder.epoch, renewing.done()) == (True, 1, False)
        assert rig.kubernetes.spec(NAME)["leaseTransitions"] == 1
        renewing.cancel()

    in_virtual_time(scenario)


def test_one_renewal_that_hangs_does_not_use_up_the_lease() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        rig.kubernetes.hold_writes = asyncio.Event()
        await asyncio.sleep(4)
        rig.kubernetes.hold_writes = None  # the connection that hangs is not woken; a new request gets an answer
        for _ in range(20):
            await asyncio.sleep(1)
            holder.require(7.0)
        assert rig.kubernetes.reconnects == 1, "other connections may be as dead"
        renewing.cancel()

    in_virtual_time(scenario)


@pytest.mark.parametrize("during", ["taking", "renewal"])
def test_a_stop_during_a_write_releases_the_lease_that_the_write_took(during: str) -> None:
    async def scenario(rig: Rig) -> None:
        replica = rig.replica("a")
        if during == "renewal":
            await replica.acquire()
        rig.kubernetes.answers_hang = True
        task = asyncio.create_task(replica.hold() if during == "renewal" else _take(replica))
        await asyncio.sleep(3.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rig.kubernetes.answers_hang = False
        assert rig.kubernetes.spec(NAME)["holderIdentity"] == str(identity("a"))
        await replica.release()
        assert rig.kubernetes.spec(NAME)["holderIdentity"] == ""

    async def _take(replica: Leadership) -> None:
        await replica.acquire()

    in_virtual_time(scenario)


def test_what_the_leader_leaves_is_what_its_successor_finds() -> None:
    async def scenario(rig: Rig) -> None:
        texts = iter(["first", "second", *["later"] * 100])
        client = rig.kubernetes.client()
        old = Leadership(
            client, rig.time, identity("a"), namespace="system", name=NAME, times=TIMES, handover=lambda: next(texts)
        )
        await old.acquire()
        assert old.predecessor == Predecessor()
        await asyncio.sleep(5)
        await old.release()
        new = rig.replica("b")
        await new.acquire()
        assert new.predecessor == Predecessor("second", rig.time.now())
        assert rig.kubernetes.objects[NAME]["metadata"]["annotations"] == {HANDOVER: "second"}, "until it knows more"

    in_virtual_time(scenario)


@pytest.mark.parametrize("existed", [True, False])
def test_a_taking_whose_answer_was_lost_still_knows_what_the_lease_was_before(existed: bool) -> None:
    async def scenario(rig: Rig) -> None:
        if existed:
            old = rig.replica("a")
            await old.acquire()
            await old.release()
        before = rig.kubernetes.objects.get(NAME)
        uid = None if before is None else before["spec"]["holderIdentity"]
        rig.kubernetes.answers_lost = 2
        new = rig.replica("b")
        await new.acquire()
        assert new.predecessor.lease["spec"].get("holderIdentity") == uid
        # What it wrote itself is what it finds when it takes the Lease once more.
        await new.release()
        await new.acquire()
        assert new.predecessor.renewed_at == rig.time.now()

    in_virtual_time(scenario)


def test_a_holder_that_finds_the_lease_deleted_has_lost_it() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        rig.kubernetes.objects.clear()
        await renewing
        assert not holder.is_held

    in_virtual_time(scenario)


def test_an_outage_shorter_than_the_lease_is_survived_and_a_longer_one_is_not() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        await asyncio.sleep(1)
        rig.kubernetes.is_down = True
        await asyncio.sleep(10)
        rig.kubernetes.is_down = False
        await asyncio.sleep(10)
        holder.require()
        rig.kubernetes.is_down = True
        await renewing
        assert not holder.is_held
        assert rig.time.seconds <= 21 + 15 + 3

    in_virtual_time(scenario)


def test_an_api_server_that_is_away_is_asked_until_it_is_back() -> None:
    async def scenario(rig: Rig) -> None:
        rig.kubernetes.is_down = True
        waiting = asyncio.create_task(rig.replica("a").acquire())
        await asyncio.sleep(30)
        assert not waiting.done()
        rig.kubernetes.is_down = False
        assert await waiting == 1

    in_virtual_time(scenario)


def test_an_outdated_epoch_steps_down_and_comes_back_above_the_fence() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        holder.outdated(41)
        assert not holder.is_held
        await renewing
        assert await holder.acquire() == 42
        assert holder.epoch == 42

    in_virtual_time(scenario)


def test_a_fence_below_the_epoch_changes_nothing_of_the_next_one() -> None:
    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        for expected in (1, 2, 3):
            assert await holder.acquire() == expected
            holder.outdated(0)

    in_virtual_time(scenario)


def test_a_renewal_that_is_under_way_does_not_bring_back_a_lost_lease() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        rig.kubernetes.hold_writes = asyncio.Event()
        await asyncio.sleep(3.5)
        holder.outdated(41)
        rig.kubernetes.hold_writes.set()
        await renewing
        assert not holder.is_held

    in_virtual_time(scenario)


def test_after_a_loss_an_outage_does_not_pass_for_a_new_lease() -> None:
    async def scenario(rig: Rig) -> None:
        holder, renewing = await rig.holding("a")
        rig.kubernetes.hold_writes = asyncio.Event()
        await asyncio.sleep(3.5)
        holder.outdated(41)
        rig.kubernetes.hold_writes.set()
        await renewing
        rig.kubernetes.is_down = True
        again = asyncio.create_task(holder.acquire())
        await asyncio.sleep(5)
        assert not again.done()
        again.cancel()

    in_virtual_time(scenario)


def test_confirm_believes_the_api_server() -> None:
    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        with pytest.raises(LeadershipLost):
            await holder.confirm()
        await holder.acquire()
        await holder.confirm()
        rig.kubernetes.is_down = True
        with pytest.raises(BackendUnavailable):
            await holder.confirm()
        assert holder.is_held
        rig.kubernetes.is_down = False
        rig.kubernetes.objects[NAME]["spec"]["holderIdentity"] = "another replica"
        with pytest.raises(LeadershipLost):
            await holder.confirm()
        assert not holder.is_held

    in_virtual_time(scenario)


def test_all_pools_that_are_opened_in_one_turn_cost_one_look_at_the_lease() -> None:
    """A start opens a hundred of them: each look by itself would open a connection, while users wait."""

    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        await holder.acquire()
        before = rig.kubernetes.reads
        await asyncio.gather(*(holder.confirm() for _ in range(100)))
        assert rig.kubernetes.reads == before + 1
        await holder.confirm()
        assert rig.kubernetes.reads == before + 2, "a later look is about a later moment"

    in_virtual_time(scenario)


def test_confirm_notices_another_epoch_of_our_own() -> None:
    async def scenario(rig: Rig) -> None:
        holder = rig.replica("a")
        await holder.acquire()
        rig.kubernetes.objects[NAME]["spec"]["leaseTransitions"] = 9
        with pytest.raises(LeadershipLost):
            await holder.confirm()

    in_virtual_time(scenario)


def test_release_without_the_lease_and_during_an_outage_is_harmless() -> None:
    async def scenario(rig: Rig) -> None:
        replica = rig.replica("a")
        await replica.release()
        assert rig.kubernetes.writes == 0
        await replica.acquire()
        rig.kubernetes.is_down = True
        await replica.release()
        assert not replica.is_held

    in_virtual_time(scenario)


def test_a_replica_releases_only_its_own_lease() -> None:
    async def scenario(rig: Rig) -> None:
        old = rig.replica("a")
        await old.acquire()
        successor = rig.replica("b")
        await successor.acquire()
        await old.release()
        assert rig.kubernetes.spec(NAME)["holderIdentity"] == str(identity("b"))

    in_virtual_time(scenario)


def test_of_two_replicas_never_both_hold_the_lease() -> None:
    async def scenario(rig: Rig) -> None:
        replicas = [rig.replica("a"), rig.replica("b")]

        async def life(replica: Leadership) -> None:
            while True:
                await replica.acquire()
                await replica.hold()

        lives = [asyncio.create_task(life(replica)) for replica in replicas]
        for second in range(240):
            rig.kubernetes.is_down = second % 60 in range(20, 45)
            assert sum(replica.is_held for replica in replicas) <= 1
            await asyncio.sleep(1)
        for each in lives:
            each.cancel()

    in_virtual_time(scenario)
