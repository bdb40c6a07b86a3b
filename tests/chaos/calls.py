"""Calls without a pause: each caller draws a pair of a few users, and one of many ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

import aiohttp
from livekit import api
from redis import exceptions

from controller.api.match import Match
from controller.api.names import token_secret_name
from controller.api.phases import MATCH_PHASES
from controller.errors import BackendError
from sandbox.administrator import Refused
from sandbox.errors import SandboxError
from tests import manifests
from tests.support.crowd import Crowd
from tests.support.rig import Rig

FAILURES: Final = (
    BackendError,
    SandboxError,
    exceptions.RedisError,
    aiohttp.ClientError,
    api.TwirpError,
    OSError,
    TimeoutError,
    AssertionError,
)
"""What a caller meets while a backend is away."""

_SPEC: Final[dict[str, Any]] = {
    "admission": "Any",
    "timeouts": {
        "readySeconds": 20,
        "connectSeconds": 6,
        "leaveSeconds": 2,
        "reconnectSeconds": 4,
        "soloSeconds": 5,
        "maxDurationSeconds": 6,
    },
    "room": {"emptyTimeoutSeconds": 15, "departureTimeoutSeconds": 12},
}
_PAUSE_SECONDS: Final = 0.1
_ATTEMPT_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 60.0
_JOIN_SECONDS: Final = 10.0

T = TypeVar("T")


class Way(StrEnum):
    """How the users end their call."""

    SKIP = "skip by a signal"
    END = "End in the spec"
    DELETE = "deletion"
    LEAVE = "leaving the room"
    NOTHING = "nothing: time ends it"


class Calls:
    """Calls of `users` users, `at_once` at once. `share` of them have real clients in their rooms."""

    def __init__(self, rig: Rig, crowd: Crowd, seed: int, *, users: int, at_once: int, share: float) -> None:
        self._rig = rig
        self._crowd = crowd
        self._seed = seed
        self._users = tuple(f"user-{number:02}" for number in range(users))
        self._at_once = at_once
        self._share = share
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()
        self.made = 0
        self.ends: Counter[str] = Counter()
        """How the Matches ended, by their own status."""

    async def run(self) -> None:
        """Make calls until `stop`."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._caller())

    def stop(self) -> None:
        """Begin no more calls; those that run go on to their end."""
        self._stopping.set()

    async def _caller(self) -> None:
        while not self._stopping.is_set():
            number = next(self._numbers)
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    self.ends[await self._call(number)] += 1
            except TimeoutError:
                self.ends["not seen to end by its caller"] += 1

    async def _call(self, number: int) -> str:
        dice = random.Random(f"{self._seed}/{number}")
        pair = dice.sample(self._users, 2)
        name, way, real = f"call-{number}", dice.choice(tuple(Way)), dice.random() < self._share
        for user in pair:
            await self._persist(lambda user=user: self._rig.gateway.enqueue(user))  # type: ignore[misc]
        spec = _SPEC | {"ttlSecondsAfterFinished": dice.choice((0, 3))}
        created = await self._persist(lambda: self._create(manifests.match(*pair, name=name, **spec)))
        if not created:
            return "not created"
        self.made += 1
        found = await self._until(name, lambda match: match.status.ready_at is not None)
        guests = await self._join(found, number) if real and found is not None else []
        if found is not None and not _is_over(found):
            await self._end(way, found, pair[0], guests)
        over = await self._until(name, _is_over)
        for guest in guests:
            await self._crowd.leave(guest)
        for user in pair:
            if dice.random() < 0.5:
                await self._persist(lambda user=user: self._rig.gateway.leave(user))  # type: ignore[misc]
        return "the object was gone" if over is None else f"{over.status.phase}: {over.status.reason}"

    async def _create(self, manifest: dict[str, Any]) -> bool:
        answer = await self._rig.kube.try_to_create(manifest)
        if answer.status in {403, 404}:  # the namespace goes
            await asyncio.sleep(1)
            return False
        if answer.status not in {201, 409}:
            raise Refused("a Match", answer)
        return True

    async def _join(self, match: Match, number: int) -> list[str]:
        """Let both users join. Those who do not get in have no part in the call."""
        guests: list[str] = []
        with contextlib.suppress(*FAILURES):
            if await self._rig.kube.get("Secret", token_secret_name(match.metadata.uid)) is None:
                return guests
            for user, entry in (await self._rig.tokens(match)).items():
                async with asyncio.timeout(_JOIN_SECONDS):
                    await self._crowd.join(f"{user}/{number}", entry)
                guests.append(f"{user}/{number}")
        return guests

    async def _end(self, way: Way, match: Match, user: str, guests: list[str]) -> None:
        name = match.metadata.name
        match way:
            case Way.SKIP:
                fields = {"type": "skip", "user": user, "match": match.metadata.uid}
                signals = self._rig.keys.signals()
                await self._persist(lambda: self._rig.redis.xadd(signals, cast("dict[Any, Any]", fields)))
            case Way.END:
                # A Match that is over, or gone, refuses it.
                termination = manifests.termination("End", user)
                await self._persist(lambda: self._rig.kube.try_to_patch("Match", name, termination))
            case Way.DELETE:
                await self._persist(lambda: self._rig.kube.delete("Match", name))
            case Way.LEAVE if guests:
                await self._crowd.leave(guests.pop())
            case _:
                pass

    async def _until(self, name: str, holds: Callable[[Match], bool]) -> Match | None:
        """Return the Match once this holds for it or it is over, or None once it is gone."""
        while True:
            body = await self._persist(lambda: self._rig.kube.get("Match", name))
            if body is None:
                return None
            match = Match.model_validate(body)
            if holds(match) or _is_over(match):
                return match
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    return await attempt()
            except FAILURES:
                await asyncio.sleep(_PAUSE_SECONDS)


def _is_over(match: Match) -> bool:
    phase = match.status.phase
    return match.status.ended_at is not None or (phase is not None and MATCH_PHASES[phase].terminal)
