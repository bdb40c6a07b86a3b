"""Watches Matches become Ready: one watch stream in a process of its own, which does nothing else.

A Match counts as Ready when the bytes of the event arrive, before anything is parsed. `Watcher` is the parent's side:
it keeps the events and waits for them. Neighbor: `life.sight` observes what happens after Ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import orjson
import uvloop

from benchmarks.access import Access, Body, call, kubernetes_session
from benchmarks.child import BenchmarkChild, given_access, say_ready
from controller.api.names import MATCH
from sandbox.child import ChildEnded, Message, tell

_PATIENCE_SECONDS = 60.0
_OPEN_AGAIN_SECONDS = 0.05


class MatchFailed(Exception):
    """A Match of the benchmark did not become what it should."""


class Watcher:
    """The events that the watching process has reported."""

    def __init__(self, access: Access, logs: Path) -> None:
        self._child = BenchmarkChild("benchmarks.watcher", access, logs)
        self._ready: dict[str, asyncio.Future[int]] = {}

    async def __aenter__(self) -> Self:
        await self._child.__aenter__()
        self._child.follow(self._take, self._fail)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in self._ready.values():
            future.cancel()
        await self._child.__aexit__(kind, error, trace)

    async def ready(self, name: str) -> int:
        """Return when `name` was seen to be Ready (monotonic nanoseconds). Raises MatchFailed if it never will be."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._future(name)
        except TimeoutError:
            raise MatchFailed(f"{name} was not seen to be Ready within {_PATIENCE_SECONDS:.0f} s") from None

    async def all_ready(self, names: Iterable[str]) -> dict[str, int]:
        """Return the same for many Matches, by name."""
        return {name: await self.ready(name) for name in names}

    def _future(self, name: str) -> asyncio.Future[int]:
        if name not in self._ready:
            self._ready[name] = asyncio.get_running_loop().create_future()
        return self._ready[name]

    async def _take(self, message: Message) -> None:
        name, why = message["name"], message["why"]
        future = self._future(name)
        if future.done():
            return
        if why:
            future.set_exception(MatchFailed(f"{name} is over before it was Ready: {why}"))
        else:
            future.set_result(message["moment"])

    async def _fail(self, end: ChildEnded) -> None:
        for future in self._ready.values():
            if not future.done():
                future.set_exception(end)


@contextlib.asynccontextmanager
async def watching(session: aiohttp.ClientSession, url: str) -> AsyncIterator[AsyncIterator[tuple[int, Body]]]:
    """Watch a collection from now on; yield its events, each with the moment at which its last byte arrived.

    A watch that ends or breaks is opened again after the last event, so none is missed or repeated. Raises
    ConnectionError if the API server no longer has the events after it.
    """
    version = (await call(session, "GET", f"{url}?limit=1"))["metadata"]["resourceVersion"]
    async with contextlib.aclosing(_events(session, url, version)) as events:
        yield events


async def _events(session: aiohttp.ClientSession, url: str, version: str) -> AsyncGenerator[tuple[int, Body], None]:
    while True:
        watch = f"{url}?watch=1&resourceVersion={version}&timeoutSeconds=3600"
        try:
            async with session.get(watch, timeout=aiohttp.ClientTimeout(total=None)) as response:
                if response.status < 500:
                    response.raise_for_status()
                    async for arrived, line in _lines(response):
                        event = orjson.loads(line)
                        if event["type"] == "ERROR":
                            _until_it_helps(event["object"])
                            break
                        version = event["object"]["metadata"]["resourceVersion"]
                        yield arrived, event
        except aiohttp.ClientConnectionError:
            pass  # an API server that is gone for good ends the measurement by its own patience
        await asyncio.sleep(_OPEN_AGAIN_SECONDS)


def _until_it_helps(status: Body) -> None:
    """Return if another watch may go on after this error. Raises ConnectionError."""
    if status.get("code") == 410:
        raise ConnectionError(f"the watch failed: {status}")


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, bytes]]:
    """The complete lines of a watch until it ends, each with the moment of its last byte."""
    rest = b""
    with contextlib.suppress(aiohttp.ClientPayloadError):
        async for chunk in response.content.iter_any():
            arrived = time.monotonic_ns()
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield arrived, line


def _verdict(match: Body) -> str | None:
    """Return an empty string if the Match is Ready, the reason if it never will be, and None if it still may be."""
    conditions = {condition["type"]: condition for condition in match.get("status", {}).get("conditions", ())}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    finished = conditions.get("Finished", {})
    return str(finished.get("message") or "?") if finished.get("status") == "True" else None


async def _watch(access: Access) -> None:
    told: set[str] = set()
    async with (
        kubernetes_session(access, access.admin_token) as session,
        watching(session, access.collection(MATCH.plural)) as events,
    ):
        say_ready()
        async for arrived, event in events:
            match = event["object"]
            name = match["metadata"].get("name")
            if name in told or event["type"] == "DELETED":
                continue
            verdict = _verdict(match)
            if verdict is not None:
                told.add(name)
                tell(name=name, moment=arrived, why=verdict)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_watch(given_access()))
