"""Many calls that are up while a test takes backends away: some have real clients, the others wait for theirs.

    async with RunningCalls(rig, calls=30, with_clients=6) as calls:
        …                       # outages
        await calls.go_on()
        await calls.end()

`Probes` watches the operator's health endpoints meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from types import TracebackType
from typing import Any, Self

import aiohttp

from controller.api.match import Match
from tests import manifests
from tests.support.crowd import Crowd
from tests.support.invariants import (
    assert_one_match_per_user,
    assert_states_agree,
    assert_transitions_are_legal,
)
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

LASTING: dict[str, Any] = {
    "admission": "Queued",
    "timeouts": {
        "readySeconds": 120,
        "connectSeconds": 300,
        "leaveSeconds": 30,
        "reconnectSeconds": 120,
        "soloSeconds": 240,
    },
    "room": {"emptyTimeoutSeconds": 310, "departureTimeoutSeconds": 130},
}
"""The spec of a Match that time does not end during a test."""

_WITHIN_SECONDS = 60.0


class RunningCalls:
    """`calls` Matches of two users each, all of whom came from the queue; the first `with_clients` are Active."""

    def __init__(self, rig: Rig, *, calls: int, with_clients: int) -> None:
        self._rig = rig
        self._crowd = Crowd()
        self._pairs = {f"call-{number:02}": (f"a{number:02}", f"b{number:02}") for number in range(calls)}
        self._with_clients = tuple(self._pairs)[:with_clients]
        self._tokens: dict[str, dict[str, str]] = {}
        self._clients: dict[str, str] = {}
        self._before: dict[str, Match] = {}

    async def __aenter__(self) -> Self:
        rig = self._rig
        await self._crowd.__aenter__()
        for pair in self._pairs.values():
            await rig.enqueue(*pair)
        for name, pair in self._pairs.items():
            await rig.kube.create(manifests.match(*pair, name=name, **LASTING))
        for name in self._pairs:
            match = await rig.kube.match_until(lambda found: is_true(found, "Ready"), name, _WITHIN_SECONDS)
            if name in self._with_clients:
                self._tokens |= await rig.tokens(match)
        await asyncio.gather(*(self._join(who) for who in self._tokens))
        for name in self._pairs:
            self._before[name] = await rig.kube.match_until(partial(self._is_up, name), name, _WITHIN_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._crowd.__aexit__(kind, error, trace)

    @property
    def users(self) -> tuple[str, ...]:
        """All users of all calls."""
        return tuple(who for pair in self._pairs.values() for who in pair)

    async def go_on(self) -> None:
        """Wait until all calls are as they were before, in all three stores, without having ended in between.

        A client that has given up joins again, as its user would.
        """
        await eventually(self._are_as_before, _WITHIN_SECONDS)
        await assert_one_match_per_user(self._rig)
        await assert_transitions_are_legal(self._rig)

    async def end(self) -> None:
        """Skip all calls: each user is released once and waits, and no room is left."""
        rig = self._rig
        for name, (first, _) in self._pairs.items():
            await rig.kube.patch("Match", name, manifests.termination("Skip", first))
        for name in self._pairs:
            over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), name, _WITHIN_SECONDS)
            assert (over.status.phase, over.status.reason) == ("Ended", "Skipped"), name
        await assert_states_agree(rig)
        assert set(self.users) <= set(await rig.queue())
        entries = await rig.stream(rig.keys.disconnects())
        told = Counter(entry["user"] for entry in entries if entry["user"] in self.users)
        assert told == Counter(self.users), "each user is released once"

    async def _are_as_before(self) -> None:
        rig = self._rig
        await self._rejoin()
        rooms = await rig.livekit_rooms()
        for name, before in self._before.items():
            after = await rig.kube.match(name)
            assert after.status.end is None, f"{name} ended: {after.status.end}"
            assert self._is_up(name, after), f"{name} is {after.status.phase}, {after.status.connected}"
            assert not is_true(after, "Degraded"), f"{name}: {after.status.conditions}"
            assert (after.metadata.uid, after.status.started_at) == (before.metadata.uid, before.status.started_at)
            assert after.status.connected_at == before.status.connected_at
            assert await rig.livekit_name(after) in rooms, f"{name} has no room on LiveKit"
            state = "IN_CALL" if name in self._with_clients else "CONNECTING"
            assert set((await rig.states(*self._pairs[name])).values()) == {state}, name
        await assert_states_agree(rig)

    def _is_up(self, name: str, match: Match) -> bool:
        status = match.status
        if name in self._with_clients:
            return (status.phase, status.connected) == ("Active", "2/2")
        return status.phase == "Connecting" and is_true(match, "Ready")

    async def _join(self, who: str) -> None:
        number = int(self._clients.get(who, f"{who}/0").rpartition("/")[2]) + 1
        self._clients[who] = f"{who}/{number}"
        await self._crowd.join(self._clients[who], self._tokens[who])

    async def _rejoin(self) -> None:
        gone = [who for who, client in self._clients.items() if self._crowd.is_gone(client)]
        await asyncio.gather(*(self._join(who) for who in gone))


class Probes:
    """What the kubelet sees: `async with Probes(operator) as probes`. Every answer within the block must be 200."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._task: asyncio.Task[None] | None = None
        self._bad: list[str] = []
        self.asked = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._ask(), name="probes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if error is None:
            assert self.asked > 0, "no probe was answered"
            assert not self._bad, f"probes failed: {self._bad}"

    async def _ask(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            while True:
                for probe in ("livez", "readyz"):
                    async with session.get(f"{self._operator.url}/{probe}") as answer:
                        self.asked += 1
                        if answer.status != 200:
                            self._bad.append(f"{probe}: {answer.status} {await answer.text()}")
                await asyncio.sleep(0.5)
