"""Observes calls in a process of its own: it watches Matches and Secrets, and reads the users' states.

It reports a fact once per object, with the moment at which the bytes of a watch event, or of Redis' answer, arrived. It
reads a user's state every two milliseconds, from the moment a measurement waits for it until it is WAITING or IDLE.
`Sight` is the parent's side.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import uvloop

from benchmarks.access import Access, Body, kubernetes_session
from benchmarks.child import BenchmarkChild, given_access, say_ready
from benchmarks.watcher import MatchFailed, watching
from controller.api.names import MATCH
from controller.api.states import UserState
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from sandbox.child import ChildEnded, Message, orders, tell

READY = "Ready"
GONE = "Gone"
"""The fact that a Match or a Secret is deleted and has no finalizers left."""
ENDED = "phase Ended"
ACTIVE = "phase Active"
SETTLED = frozenset({UserState.WAITING, UserState.IDLE})

_PATIENCE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.002


def person_is(identity: str, state: str) -> str:
    """Name the fact that the Match's status has this state for the participant."""
    return f"{identity} {state}"


def facts(match: Body) -> Iterator[str]:
    """Yield the facts in a Match's status that a measurement can wait for."""
    status = match.get("status", {})
    yield f"phase {status.get('phase')}"
    if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ())):
        yield READY
    for person in status.get("participants", ()):
        yield person_is(person["identity"], person["state"])


class Sight:
    """The facts that the observing process has reported."""

    def __init__(self, access: Access, logs: Path) -> None:
        self._child = BenchmarkChild("benchmarks.life.sight", access, logs)
        self._told: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._waiting: dict[tuple[str, str], asyncio.Future[int]] = {}
        self._failure: ChildEnded | None = None

    async def __aenter__(self) -> Self:
        await self._child.__aenter__()
        self._child.follow(self._take, self._fail)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in self._waiting.values():
            future.cancel()
        await self._child.__aexit__(kind, error, trace)

    def told(self, name: str, fact: str) -> bool:
        """Whether the fact has been seen."""
        return fact in self._told[name]

    async def when(self, name: str, fact: str, seconds: float = _PATIENCE_SECONDS) -> int:
        """Return when the fact about `name` was first seen (monotonic nanoseconds). Raises MatchFailed in the end."""
        if self._failure is not None:
            raise self._failure
        if fact in self._told[name]:
            return self._told[name][fact]
        future = self._waiting.setdefault((name, fact), asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            seen = ", ".join(self._told[name]) or "nothing"
            raise MatchFailed(f"{name} was not seen to be {fact} within {seconds:.0f} s; seen: {seen}") from None

    async def expect_settled(self, *identities: str) -> None:
        """Begin to read the states of these users. A Match must hold them already."""
        await self._child.send({"users": identities})

    async def _take(self, message: Message) -> None:
        name, fact, moment = message["name"], message["fact"], message["moment"]
        self._told[name][fact] = moment
        future = self._waiting.pop((name, fact), None)
        if future is not None and not future.done():
            future.set_result(moment)

    async def _fail(self, end: ChildEnded) -> None:
        self._failure = end
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(end)


class _Eyes:
    """The child's side."""

    def __init__(self, access: Access, redis: Redis) -> None:
        self._access = access
        self._redis = redis
        self._keys = Keys(access.cluster_id, access.namespace)
        self._pending: set[str] = set()
        self._is_asked = asyncio.Event()
        self._told: defaultdict[str, set[str]] = defaultdict(set)

    async def run(self) -> None:
        """Observe until the parent is gone."""
        access = self._access
        async with (
            kubernetes_session(access, access.admin_token) as session,
            watching(session, access.collection(MATCH.plural)) as matches,
            watching(session, access.core("secrets")) as secrets,
            asyncio.TaskGroup() as group,
        ):
            say_ready()
            tasks = [group.create_task(self._look_at_users())]
            for events in (matches, secrets):
                tasks.append(group.create_task(self._follow(events)))
            async for message in orders():
                self._pending.update(message["users"])
                self._is_asked.set()
            for task in tasks:
                task.cancel()

    async def _follow(self, events: AsyncIterator[tuple[int, Body]]) -> None:
        async for arrived, event in events:
            found = event["object"]
            name = found["metadata"].get("name", "")
            if event["type"] == "DELETED":
                self._tell(name, GONE, arrived)
            elif found.get("kind") == MATCH.kind:
                for fact in facts(found):
                    self._tell(name, fact, arrived)

    async def _look_at_users(self) -> None:
        while True:
            await self._is_asked.wait()
            asked = tuple(self._pending)
            states = await asyncio.gather(*(self._redis.field(self._keys.user(who), "state") for who in asked))
            arrived = time.monotonic_ns()
            for who, state in zip(asked, states, strict=True):
                if state in SETTLED:
                    self._pending.discard(who)
                    self._tell(who, state, arrived)
            if not self._pending:
                self._is_asked.clear()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _tell(self, name: str, fact: str, moment: int) -> None:
        if fact not in self._told[name]:
            self._told[name].add(fact)
            tell(name=name, fact=fact, moment=moment)


async def _see(access: Access) -> None:
    redis = Redis.from_url(access.redis_url)
    try:
        await _Eyes(access, redis).run()
    finally:
        await redis.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_see(given_access()))
