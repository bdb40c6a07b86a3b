"""Pools in use: the whole life of a Match on the side of Redis, and load that goes on whatever the servers do."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from controller.api.match import QueuePlace
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.clients.redis.gateway import Queued, ReservedPair
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import Role
from controller.clients.redis.replies.inbox import Noted
from controller.clients.redis.replies.match import AdvanceOk, ClaimOk, SettleOk
from controller.clients.redis.requests import AdvanceRequest, ClaimMode, Signal, SignalKind
from controller.clients.redis.rights import rules, user_name
from controller.errors import BackendUnavailable
from controller.facts.ledger import Destination
from sandbox.endpoints import Endpoints
from sandbox.redis_nodes import Node
from tests.redis.world import NOW, World
from tests.support.waiting import patience

T = TypeVar("T")

_AGAIN = dict.fromkeys(("alice", "bob"), (Destination.WAITING, QueuePlace.ORIGINAL))


def endpoints(bare: Endpoints, url: str, nodes: Iterable[Node]) -> Endpoints:
    """The stack, but with the Redis behind this URL. Each role logs in with the rights of redis-rights.md."""
    for node in nodes:
        for role in Role:
            node("ACL", "SETUSER", user_name(role), *rules(role, bare.cluster_id), ">secret")
    urls = {role.value: url.replace("//", f"//{user_name(role)}:secret@") for role in Role}
    environment = {**bare.operator_env, "ROOMKEEPER_REDIS_URL": urls["operator"]}
    return replace(bare, redis_url=url, redis_urls=urls, operator_env=environment)


async def live_once(world: World, uid: str = "m1") -> None:
    """Enqueue, reserve, claim, advance, signal, settle: both wait again in their places, and all of it was told."""
    places = {user: await world.enqueue(user) for user in ("alice", "bob")}
    reserved = await world.gateway.reserve(f"name-{uid}", ("alice", "bob"), ttl_seconds=30)
    assert isinstance(reserved, ReservedPair)
    claimed = await world.claim(uid, "alice", "bob", mode=ClaimMode.QUEUED)
    assert isinstance(claimed, ClaimOk)
    both = (("alice", UserState.IN_CALL), ("bob", UserState.IN_CALL))
    advanced = await world.pool.advance(AdvanceRequest(uid, both, MatchPhase.ACTIVE), now_ms=NOW)
    assert isinstance(advanced, AdvanceOk)
    noted = await Inbox(world.pool).signal(Signal(uid, "alice", SignalKind.SKIP), now_ms=NOW)
    assert isinstance(noted, Noted)
    assert (await world.ledger(uid)).wish is not None
    settled = await world.settle(uid, _AGAIN)
    assert isinstance(settled, SettleOk)
    assert await world.queue() == places
    assert [notice["type"] for notice in await world.notices("alice")][-2:] == ["ended", "requeued"]


async def repeated(request: Callable[[], Awaitable[T]]) -> T:
    """Send a request until it is answered, as the operator does."""
    async with asyncio.timeout(patience()):
        while True:
            try:
                return await request()
            except BackendUnavailable:
                await asyncio.sleep(0.02)


@dataclass
class Load:
    """Matches that are claimed and settled without end in one pool, with the checks of the safety invariants.

    No command may be lost or run twice: each claim takes both users, each settle frees both, and each user waits once.
    """

    world: World
    name: str
    done: int = 0
    gaps: list[float] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Load:
        for user in self.users:
            await self._sent(partial(self.world.gateway.enqueue, user))
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    @property
    def users(self) -> tuple[str, str]:
        """The two users."""
        return f"{self.name}-a", f"{self.name}-b"

    async def more(self, matches: int) -> None:
        """Wait for so many further Matches."""
        wanted = self.done + matches
        async with asyncio.timeout(patience()):
            while self.done < wanted:
                assert self._task is not None
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    async def _run(self) -> None:
        while True:
            await self._one(f"{self.name}-{next(self._numbers)}")
            self.done += 1

    async def _one(self, uid: str) -> None:
        """One Match, with every request sent twice now and then, as after a lost reply."""
        world, users = self.world, self.users
        for _ in range(random.choice((1, 1, 2))):
            claimed = await self._sent(lambda: world.claim(uid, *users))
            assert isinstance(claimed, ClaimOk), claimed
            assert [user.id for user in claimed.users] == list(users)
        for user in users:
            record = await self._sent(partial(world.gateway.user, user))
            assert record is not None
            assert (record.match, record.state) == (uid, UserState.CONNECTING), "S1: one live Match per user"
        free = dict.fromkeys(users, (Destination.WAITING, QueuePlace.ORIGINAL))
        for _ in range(random.choice((1, 1, 2))):
            settled = await self._sent(lambda: world.settle(uid, free))
            assert isinstance(settled, SettleOk), settled
            assert {user.id for user in settled.users} == set(users)
        for user in users:
            again = await self._sent(partial(world.gateway.enqueue, user))
            assert isinstance(again, Queued), again
            assert again.replay, "S5: freed users wait already, once"
        queue = await self._sent(world.queue)
        assert set(users) <= queue.keys(), "S2: state matches place"

    async def _sent(self, request: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer = await repeated(request)
        if (seconds := loop.time() - started) > 0.5:
            self.gaps.append(seconds)
        return answer
