"""Matches with N in flight: what creates them, and in which portions.

For the two operators `Generator` creates the next Match as soon as one has become Ready. The floor creates its own
Matches; a `Batch` says how many in both cases. Neighbors: `watcher` reports which Matches are Ready, `measure` gives
the orders, `life.cycles` takes Matches on to their end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import aiohttp

from benchmarks.access import Access, Body, call
from controller.api.names import API_VERSION, MATCH

Sent = dict[str, int]
"""The moment just before the POST by Match name: nanoseconds of the monotonic clock, which all processes share."""


class Until(StrEnum):
    """How far the floor takes its Matches."""

    CREATED = "created"
    READY = "ready"
    DELETED = "deleted"


@dataclass(frozen=True)
class Batch:
    """A portion of load: `count` Matches from number `first` on, `in_flight` at once, for `seconds` at most."""

    first: int
    count: int
    in_flight: int
    seconds: float
    until: Until = Until.READY


class Creator(Protocol):
    """Creates Matches."""

    async def run(self, batch: Batch) -> Sent:
        """Create the batch; return when the subject has finished the last Match."""
        ...


def match_manifest(number: int, **spec: Any) -> Body:
    """Return a Match of two users who are in no other Match; `spec` overrides its fields."""
    return {
        "apiVersion": API_VERSION,
        "kind": MATCH.kind,
        "metadata": {"name": f"match-{number}"},
        "spec": {
            "participants": [{"identity": f"user-{number}-a"}, {"identity": f"user-{number}-b"}],
            # No participant ever joins: neither the Match nor LiveKit may end it while others are measured.
            "timeouts": {"connectSeconds": 1800},
            "room": {"emptyTimeoutSeconds": 3600},
            **spec,
        },
    }


def skip_patch(initiator: str) -> Body:
    """Return the patch by which one of the two participants skips."""
    return {"spec": {"termination": {"action": "Skip", "initiator": initiator}}}


async def in_flight(batch: Batch, one: Callable[[int], Awaitable[None]]) -> None:
    """Run `one` for every number of the batch, `in_flight` at a time, and start none after its time is over."""
    numbers = itertools.islice(itertools.count(batch.first), batch.count)
    until = time.monotonic() + batch.seconds

    async def work() -> None:
        for number in numbers:
            if time.monotonic() > until:
                return
            await one(number)

    async with side_by_side() as group:
        for _ in range(min(batch.in_flight, batch.count)):
            group.create_task(work())


@contextlib.asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks that fails with the error of the first task that failed, not with a group of errors."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        # The first one explains the others.
        raise failures.exceptions[0] from None


class Generator:
    """Creates Matches as the administrator, and waits for each to become Ready before it creates the next."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, ready: Callable[[str], Awaitable[Any]]) -> None:
        self._url = access.collection(MATCH.plural)
        self._session = session
        self._ready = ready

    async def run(self, batch: Batch) -> Sent:
        """Create the batch; return when the last one is Ready."""
        sent: Sent = {}

        async def one(number: int) -> None:
            manifest = match_manifest(number)
            name = manifest["metadata"]["name"]
            sent[name] = time.monotonic_ns()
            await call(self._session, "POST", self._url, manifest)
            await self._ready(name)

        await in_flight(batch, one)
        return sent
