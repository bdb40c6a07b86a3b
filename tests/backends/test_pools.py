"""Pools by namespace: opened once per epoch, restored after a loss, closed to a replica that is out of date."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.api.match import Match
from controller.backends.pools import Pools
from controller.backends.restore_requests import restore_request
from controller.backends.restores import Restorer
from controller.clients.redis.client import Arguments, Redis
from controller.clients.redis.epochs import EpochStore
from controller.clients.redis.lua import Script
from controller.clients.redis.replies.pool import Written
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import Served
from controller.errors import LeadershipLost, PoolClosed, StateLost
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from tests import values as b
from tests.virtual_time import VirtualTime, run

NAMESPACE = b.NAMESPACE
LEASE = "system/shard-0"


class MemoryRedis:
    """Answers the scripts `incarnation` and `claim` as the real ones do; `incarnation` is None after a loss."""

    def __init__(self, incarnation: str | None = "abc") -> None:
        self.incarnation = incarnation
        self.calls: list[tuple[str, list[str | int]]] = []
        self.claim_answer = ["OK", "new"]
        self.fence = 0
        self.fence_moves = False
        self.epochs: dict[str, int] = {}
        self.is_lost_again = False
        self.live: list[str] = []

    async def run(self, script: Script, _keys: Sequence[str], arguments: Arguments) -> list[str]:
        """One script."""
        await asyncio.sleep(0)
        args = arguments() if callable(arguments) else arguments
        self.calls.append((script.name, list(args)))
        if script.name == "claim":
            if self.claim_answer[0] == "OK":
                self.live.append(str(args[3]))
            return self.claim_answer
        if script.name == "serve":
            return ["OK"]
        if script.name == "epoch":
            own = max(self.epochs.get(str(args[0]), 0), int(args[1]))
            self.epochs[str(args[0])] = own
            return ["OK", str(own), str(max(self.epochs.values()))]
        value, mark, operation = args
        epoch = str(mark).partition(":")[0]
        if int(epoch) < self.fence:
            return ["STALE", str(self.fence)]
        if operation == "BEGIN":
            self.incarnation = self.incarnation or str(value)
        elif self.is_lost_again:
            return ["LOST"]
        elif self.incarnation == value:
            self.incarnation = str(value).removeprefix("restoring:")
        else:
            return ["LOST"]
        return ["OK", self.incarnation]

    async def text(self, _key: str) -> str | None:
        """The fence; its number grows with each request of a live owner."""
        return f"{self.fence}:{len(self.calls) if self.fence_moves else 1}"

    async def scored(self, _key: str, **_page: object) -> list[tuple[str, float]]:
        """The key `live`."""
        await asyncio.sleep(0)
        return [(uid, 1.0) for uid in self.live]

    def names(self) -> list[str]:
        """Scripts that ran."""
        return [name for name, _ in self.calls]


class Rig:
    """Pools over it; `confirmed` counts how often the lease was asked for."""

    def __init__(self, redis: MemoryRedis, *matches: Match, epoch: int = 7) -> None:
        self.redis = redis
        self.confirmed = 0
        self.outdated: list[int] = []
        self.restored: list[Match] = []
        self.opened: list[str] = []
        clock: Any = type("Clock", (), {"now": staticmethod(lambda: b.at(9))})()
        self.woken: list[Match] = []
        cache, calls = ObjectCache(Match), CallIndex()
        cache.follow(kept=calls.kept)
        for match in matches:
            cache.offer(match.manifest())
        redis.live = redis.live or [match.metadata.uid for match in matches if redis.incarnation is not None]
        restorer = Restorer(
            cache,
            calls,
            clock,
            restored=(self.restored.append,),
            wake=self.woken.append,
            uid_of=self._uid_of,
            uids_in=self._uids_in,
        )
        self.pools = Pools(
            cast("Redis", redis), b.CLUSTER, epoch,
            epochs=EpochStore(cast("Redis", redis), b.CLUSTER, LEASE), served=Served("1.0", 30), restorer=restorer,
            confirm=self._confirm, outdated=self.outdated.append, opened=self.opened.append,
        )  # fmt: skip

    async def _uids_in(self, _namespace: str) -> set[str]:
        return set()

    async def _uid_of(self, _namespace: str, _name: str) -> str | None:
        return None

    async def _confirm(self) -> None:
        self.confirmed += 1


async def test_a_pool_is_opened_once_and_kept() -> None:
    rig = Rig(MemoryRedis())
    first, second = await asyncio.gather(rig.pools.get(NAMESPACE), rig.pools.get(NAMESPACE))
    assert first is second
    assert (first.incarnation, first.epoch, first.shard) == ("abc", 7, 0)
    assert (rig.redis.names(), rig.confirmed) == (["epoch", "incarnation", "serve"], 1)
    assert rig.pools.namespaces() == (NAMESPACE,)


class SlowRedis(MemoryRedis):
    """A claim takes a second. The pool `other` lost nothing."""

    async def run(self, script: Script, keys: Sequence[str], args: Arguments) -> list[str]:
        if any(":other}" in key for key in keys):
            return await MemoryRedis("abc").run(script, keys, args)
        if script.name == "claim":
            await asyncio.sleep(1)
        return await super().run(script, keys, args)


def test_a_pool_that_is_being_restored_holds_up_no_other_one_and_no_caller() -> None:
    async def story(time: VirtualTime) -> None:
        rig = Rig(SlowRedis(None), *(b.active(name=f"m{n}", uid=f"u{n}") for n in range(3)))
        callers = [asyncio.create_task(rig.pools.get(NAMESPACE)) for _ in range(3)]
        await time.settle()
        assert (await rig.pools.get("other")).incarnation == "abc"
        assert time.seconds == 0
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert time.seconds == pytest.approx(0.5)
        for answer in answers:
            assert isinstance(answer, StateLost)
            assert "is being opened" in str(answer)
        for _ in range(5):
            with pytest.raises(StateLost, match="is being opened"):
                await rig.pools.get(NAMESPACE)
        assert time.seconds == pytest.approx(0.5), "those who come later do not wait at all"
        assert rig.opened == []
        await asyncio.sleep(3)
        assert rig.opened == [NAMESPACE], "those who were sent away are woken"
        assert rig.redis.names().count("claim") == 3, "the pool was restored once"
        await rig.pools.get(NAMESPACE)

    run(story)


async def test_all_who_wait_for_a_pool_learn_why_it_does_not_open() -> None:
    redis = MemoryRedis()
    redis.fence = 40
    rig = Rig(redis)
    answers = await asyncio.gather(*(rig.pools.get("x") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [PoolClosed] * 3
    assert redis.names().count("incarnation") == 1


async def test_readers_take_open_pools_and_open_none() -> None:
    rig = Rig(MemoryRedis())
    with pytest.raises(StateLost):
        rig.pools.opened("x")
    assert rig.redis.calls == []
    assert await rig.pools.get("x") is rig.pools.opened("x")


async def test_a_pool_that_is_out_of_date_is_kept_and_one_that_is_released_is_not() -> None:
    rig = Rig(MemoryRedis())
    for namespace in ("x", "y"):
        await rig.pools.get(namespace)
    rig.pools.forget("x")
    rig.pools.release("y")
    assert rig.pools.namespaces() == ()
    assert rig.pools.kept() == {"x"}


async def test_each_namespace_has_its_own_pool() -> None:
    rig = Rig(MemoryRedis())
    assert (await rig.pools.get("x")).keys != (await rig.pools.get("y")).keys


async def test_the_end_of_a_term_gives_up_the_pools_that_are_being_opened() -> None:
    rig = Rig(MemoryRedis())
    caller = asyncio.create_task(rig.pools.get(NAMESPACE))
    await asyncio.sleep(0)
    await rig.pools.close()
    with pytest.raises(LeadershipLost):
        await caller
    assert rig.pools.namespaces() == ()


async def test_what_is_neither_fenced_nor_bound_needs_no_opening() -> None:
    rig = Rig(MemoryRedis())
    assert rig.pools.unbound(NAMESPACE).incarnation == ""
    assert rig.redis.calls == []


async def test_a_redis_that_lost_its_data_gets_the_live_matches_back_before_the_pool_opens() -> None:
    live, finished = b.active(), b.active(status=b.OVER, name="finished", uid="u-finished")
    new, elsewhere = b.a_match(name="new", uid="u-new"), b.active(namespace="other", uid="u-elsewhere")
    rig = Rig(MemoryRedis(None), live, finished, new, elsewhere)
    pool = await rig.pools.get(NAMESPACE)
    assert rig.redis.names() == ["epoch", "incarnation", "claim", "incarnation", "serve"]
    assert not pool.incarnation.startswith("restoring:")
    assert pool.incarnation == rig.redis.incarnation
    restored = rig.redis.calls[2][1]
    assert "Restore" in restored
    assert restored[0] == f"restoring:{pool.incarnation}"
    assert rig.restored == [live]


async def test_a_restore_that_somebody_else_began_is_taken_over() -> None:
    rig = Rig(MemoryRedis("restoring:123"), b.active())
    pool = await rig.pools.get(NAMESPACE)
    assert (pool.incarnation, rig.redis.names()) == ("123", ["epoch", "incarnation", "claim", "incarnation", "serve"])


@pytest.mark.parametrize("answer", [["SETTLED"], ["BUSY", "alice", "another"]])
async def test_a_match_that_cannot_be_restored_does_not_keep_the_pool_closed(answer: list[str]) -> None:
    redis = MemoryRedis(None)
    redis.claim_answer = answer
    rig = Rig(redis, b.active())
    assert (await rig.pools.get(NAMESPACE)).incarnation == redis.incarnation
    assert rig.restored == []


async def test_a_loss_in_the_middle_of_a_restore_keeps_the_pool_closed() -> None:
    redis = MemoryRedis(None)
    redis.claim_answer = ["LOST"]
    rig = Rig(redis, b.active())
    with pytest.raises(StateLost):
        await rig.pools.get(NAMESPACE)
    assert rig.pools.namespaces() == ()
    redis.claim_answer = ["OK", "new"]
    assert (await rig.pools.get(NAMESPACE)).incarnation == redis.incarnation


async def test_a_loss_at_the_end_of_a_restore_keeps_the_pool_closed() -> None:
    redis = MemoryRedis(None)
    redis.is_lost_again = True
    rig = Rig(redis, b.active())
    with pytest.raises(StateLost):
        await rig.pools.get(NAMESPACE)
    assert rig.pools.namespaces() == ()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (["OK", "new"], ["Redis had lost data; live matches were restored"]),
        (["SETTLED"], []),
        (["BUSY", "alice", "another"], ["match could not be restored"]),
    ],
)
async def test_what_was_restored_and_what_could_not_be_is_told(answer: list[str], told: list[str]) -> None:
    redis = MemoryRedis(None)
    redis.claim_answer = answer
    with capture_logs() as logs:
        await Rig(redis, b.active()).pools.get(NAMESPACE)
    assert [entry["event"] for entry in logs] == told
    assert [entry["matches"] for entry in logs if "matches" in entry] == [1] * (answer[0] == "OK")


async def test_a_fence_above_our_epoch_closes_its_pool_and_commands_no_lease() -> None:
    redis = MemoryRedis()
    redis.fence = 3_000_000_000
    rig = Rig(redis)
    for _ in range(3):
        with pytest.raises(PoolClosed, match=r"fence:0 says epoch 3000000000, and the lease is ours with epoch 7"):
            await rig.pools.get("x")
    assert (rig.outdated, rig.pools.namespaces(), rig.pools.closed()) == ([], (), ("x",))
    assert "delete the key" in rig.pools.trouble("x")
    # The Lease is asked before and after; then the pool is left alone for a while.
    assert rig.confirmed == 2
    redis.fence = 0
    await rig.pools.get("y")
    assert rig.pools.trouble("y") == ""


def test_a_pool_opens_again_soon_after_its_fence_is_mended() -> None:
    async def story(_: VirtualTime) -> None:
        redis = MemoryRedis()
        redis.fence = 40
        rig = Rig(redis)
        with pytest.raises(PoolClosed):
            await rig.pools.get("x")
        redis.fence = 0
        await asyncio.sleep(2.1)
        assert (await rig.pools.get("x")).epoch == 7
        assert (rig.pools.closed(), rig.pools.trouble("x")) == ((), "")

    run(story)


@pytest.mark.parametrize(
    ("case", "fence", "moves", "outdated"),
    [
        ("a Lease of another name had it, and is gone", 40, False, [41]),
        ("another owner writes to the pool", 40, True, []),
        ("no Lease ever had it: it is damaged", 42, False, []),
    ],
)
def test_the_fence_of_an_owner_who_is_gone_is_outrun_by_our_lease(
    case: str, fence: int, moves: bool, outdated: list[int]
) -> None:
    """Our Lease had another name, or a neighbor was removed, and Redis was silent when we took the Lease."""

    async def story(time: VirtualTime) -> None:
        redis = MemoryRedis()
        redis.epochs |= {"system/renamed": 40, "system/another": 41}
        redis.fence, redis.fence_moves = fence, moves
        rig = Rig(redis, epoch=1)
        while time.seconds < 600 and not rig.outdated:
            with pytest.raises((PoolClosed, LeadershipLost)):
                await rig.pools.get("x")
            await asyncio.sleep(2.5)
        assert rig.outdated == outdated
        assert not outdated or 150 <= time.seconds < 160, "a live owner would have written by then"

    run(story)


async def test_a_lease_that_is_another_replicas_after_all_is_given_up() -> None:
    redis = MemoryRedis()
    redis.fence = 8
    rig = Rig(redis)
    answers = iter([True, False])

    async def confirm() -> None:
        if not next(answers):
            raise LeadershipLost("another replica")

    rig.pools._confirm = confirm
    with pytest.raises(LeadershipLost):
        await rig.pools.get("x")
    assert rig.pools.closed() == ()


async def test_a_lease_that_was_made_again_is_taken_above_the_epochs_before() -> None:
    redis = MemoryRedis()
    redis.epochs[LEASE] = 40
    rig = Rig(redis)
    with pytest.raises(LeadershipLost, match="epoch 40 was before, ours is 7"):
        await rig.pools.get("x")
    assert (rig.outdated, redis.names()) == ([40], ["epoch"])
    assert (await Rig(redis, epoch=41).pools.get("x")).epoch == 41


async def test_a_higher_epoch_of_another_installation_costs_no_lease() -> None:
    redis = MemoryRedis()
    redis.epochs["system/another"] = 40
    rig = Rig(redis)
    assert (await rig.pools.get("x")).epoch == 7
    assert rig.outdated == []


async def test_an_epoch_whose_answer_was_lost_is_written_down_again_whatever_others_have_by_then() -> None:
    redis = MemoryRedis()
    redis.epochs |= {LEASE: 7, "system/another": 8}
    rig = Rig(redis)
    assert (await rig.pools.get("x")).epoch == 7


async def test_a_pool_that_another_installation_serves_by_the_end_of_its_opening_stays_closed() -> None:
    rig = Rig(MemoryRedis(None), *(b.active(name=f"m{n}", uid=f"u{n}") for n in range(60)))
    rig.pools._foreign = lambda _namespace: "another installation serves it" if "claim" in rig.redis.names() else ""
    with pytest.raises(PoolClosed, match="another installation serves it"):
        await rig.pools.get(NAMESPACE)
    assert rig.pools.namespaces() == ()
    assert rig.redis.names().count("claim") < 60, "it stops in the middle"
    assert "serve" not in rig.redis.names()


async def test_the_highest_epoch_is_asked_for_once_per_epoch() -> None:
    rig = Rig(MemoryRedis())
    for namespace in ("x", "y"):
        await rig.pools.get(namespace)
    assert rig.redis.names().count("epoch") == 1


async def test_a_replica_that_does_not_lead_opens_no_pool() -> None:
    rig = Rig(MemoryRedis(None))

    async def refuse() -> None:
        raise LeadershipLost("another replica")

    rig.pools._confirm = refuse
    with pytest.raises(LeadershipLost):
        await rig.pools.get(NAMESPACE)
    assert rig.redis.calls == []


async def test_a_reply_that_says_lost_closes_the_pool_of_that_namespace() -> None:
    rig = Rig(MemoryRedis())
    await rig.pools.get("x")
    await rig.pools.get("y")
    with pytest.raises(StateLost, match="namespace x"):
        rig.pools.check("x", Lost())
    assert rig.pools.namespaces() == ("y",)


async def test_a_reply_that_says_stale_closes_the_pool_and_the_lease_is_asked() -> None:
    rig = Rig(MemoryRedis())
    await rig.pools.get("x")
    with pytest.raises(PoolClosed, match="epoch 9, and the lease is ours with epoch 7"):
        rig.pools.check("x", Stale(9))
    assert (rig.outdated, rig.pools.namespaces(), rig.confirmed) == ([], (), 1)
    await rig.pools.get("x")
    assert rig.confirmed == 2


def test_any_other_reply_passes() -> None:
    Rig(MemoryRedis()).pools.check("x", Written())


@pytest.mark.parametrize(
    ("case", "match", "expected"),
    [
        ("not claimed yet", b.a_match(status={"phase": "Pending"}), None),
        ("never looked at", b.a_match(), None),
        ("over", b.active(status=b.OVER), None),
        ("failed", b.active(status=b.OVER | {"phase": "Failed"}), None),
        ("said to be over by another client", b.active(status={"phase": "Ended"}), ("IN_CALL", "Active")),
        ("in a phase of another version", b.connecting(status={"phase": "Failed"}), ("CONNECTING", "Connecting")),
        ("settled, room closing", b.active(status={"phase": "Terminating", "end": {"reason": "Ended"}}), None),
        ("being made", b.connecting(status={"phase": "Creating"}), ("CONNECTING", "Creating")),
        ("people join", b.connecting(), ("CONNECTING", "Connecting")),
        ("up", b.active(), ("IN_CALL", "Active")),
        ("one user dropped out", b.active(status={"phase": "Reconnecting"}), ("IN_CALL", "Reconnecting")),
        ("ending", b.active(status={"phase": "Terminating"}), ("DISCONNECTING", "Terminating")),
    ],
)
def test_who_is_restored_and_as_what(case: str, match: Match, expected: tuple[str, str] | None) -> None:
    request = restore_request(match)
    assert (None if request is None else (request.state.value, request.phase)) == expected, case


def test_a_restored_match_has_its_places_and_its_room() -> None:
    people = [{"identity": "alice", "state": "Connected", "since": b.at(3), "queued_at": b.at(-20)},
              {"identity": "bob", "state": "Connected", "since": b.at(3)}]  # fmt: skip
    room = {"name": b.ROOM_NAME, "livekit_name": b.LIVEKIT_NAME, "url": b.URL}
    request = restore_request(b.active(status={"participants": people, "room": room}, session_id="s-9"))
    assert request is not None
    assert [(user.id, user.queued_at_ms) for user in request.users] == [("alice", b.ms(-20)), ("bob", None)]
    assert (request.uid, request.match_name, request.session_id) == (b.MATCH_UID, b.NAME, "s-9")
    assert (request.room, request.url, request.mode) == (b.LIVEKIT_NAME, b.URL, "Restore")
