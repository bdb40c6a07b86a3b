"""A watch on one kind, independent of the operator's: it notes when the API server reported which change.

The story takes its timings from here, because `kubectl` takes longer to start than a Match takes to become Ready.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from sandbox.administrator import Administrator
from sandbox.demo.checks import StepFailed
from sandbox.endpoints import Endpoints

Body = dict[str, Any]


@dataclass(frozen=True)
class Sighting:
    """One event of the watch: ADDED, MODIFIED or DELETED, and the monotonic moment of its arrival."""

    at: float
    type: str
    body: Body

    @property
    def is_ready(self) -> bool:
        return condition(self.body, "Ready") == "True"

    @property
    def phase(self) -> str:
        return str(self.body.get("status", {}).get("phase", ""))


class Watch:
    """All sightings of one kind in one namespace, from the start of the block."""

    def __init__(self, endpoints: Endpoints, namespace: str, plural: str) -> None:
        self._path = f"/apis/roomkeeper.dev/v1alpha1/namespaces/{namespace}/{plural}"
        self._plural = plural
        self._administrator = Administrator.of(endpoints)
        self._sightings: list[Sighting] = []
        self._news = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        answer = await self._administrator.watch(self._path)
        self._reading = asyncio.create_task(self._read(answer), name=f"watch {self._plural}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        await self._administrator.close()

    @property
    def mark(self) -> int:
        """The number of sightings so far: `find(after=mark)` looks only at later ones."""
        return len(self._sightings)

    async def find(
        self, what: str, fits: Callable[[Sighting], bool], *, after: int = 0, timeout: float = 15.0
    ) -> Sighting:
        """The first sighting that fits, past or future. Raises StepFailed with `what` after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while (found := next(filter(fits, self._sightings[after:]), None)) is None:
                    await self._news.wait()
                return found
        except TimeoutError:
            last = self._sightings[-1] if self._sightings[after:] else None
            seen = describe(last.body) if last else f"no change of any {self._plural}"
            raise StepFailed(what, f"{seen} (after {timeout:.0f} s)") from None

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        async with answer:
            async for line in answer.content:
                event = json.loads(line)
                async with self._news:
                    self._sightings.append(Sighting(time.monotonic(), event["type"], event["object"]))
                    self._news.notify_all()


def condition(body: Body, kind: str) -> str:
    """The status of a condition: True, False, Unknown, or empty if it is not set."""
    conditions = body.get("status", {}).get("conditions", [])
    return next((str(entry["status"]) for entry in conditions if entry["type"] == kind), "")


def describe(body: Body) -> str:
    """An object in one line: its phase, and the conditions that are not as they should be."""
    status = body.get("status", {})
    troubles = [
        f"{entry['type']} {entry['status']}: {entry.get('message', '')}"
        for entry in status.get("conditions", [])
        if (entry["status"] == "True") is (entry["type"] == "Degraded")
    ]
    return "; ".join([f"{body['metadata']['name']} is {status.get('phase', 'without a phase')}", *troubles])
