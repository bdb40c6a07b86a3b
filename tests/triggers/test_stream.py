"""The reader of streams: every entry is passed on at least once, in order, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import cast

from controller.clients.redis.client import Redis, StreamEntry
from controller.errors import Backend, BackendUnavailable
from controller.triggers.stream import StreamReader
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.REDIS, "XREAD", "no answer")


class Streams:
    """Streams in memory, and one source that notes what it is given."""

    def __init__(self) -> None:
        self.entries: list[StreamEntry] = []
        self.namespaces: tuple[str, ...] = ("calls",)
        self.taken: list[tuple[str, str]] = []
        self.refuses = 0

    async def read_streams(self, positions: Mapping[str, str], *, block_seconds: float) -> tuple[StreamEntry, ...]:
        """What came after the positions; waits if there is nothing."""
        found = tuple(entry for entry in self.entries if entry.id > positions.get(entry.stream, "9"))
        if not found:
            await asyncio.sleep(block_seconds)
        return found

    def stream(self, namespace: str) -> str:
        return f"{namespace}:signals"

    async def start(self, namespace: str) -> str:
        return "0" if namespace == "calls" else "2"

    async def take(self, namespace: str, entries: tuple[StreamEntry, ...]) -> None:
        if self.refuses:
            self.refuses -= 1
            raise AWAY
        self.taken += [(namespace, entry.id) for entry in entries]

    async def follow(self, seconds: float) -> None:
        """Let a reader run for so long."""
        reader = StreamReader(cast("Redis", self), (self,), lambda: self.namespaces)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await reader.run()

    def add(self, namespace: str, *ids: str) -> None:
        self.entries += [StreamEntry(self.stream(namespace), entry_id, {}) for entry_id in ids]


def test_what_was_written_while_nobody_listened_is_taken_in_order() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1", "2")
        streams.add("other", "1", "2", "3")
        streams.namespaces = ("calls", "other")
        await streams.follow(3)
        assert streams.taken == [("calls", "1"), ("calls", "2"), ("other", "3")]

    run(main)


def test_what_could_not_be_dealt_with_comes_again() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1", "2")
        streams.refuses = 2
        await streams.follow(5)
        assert streams.taken == [("calls", "1"), ("calls", "2")]

    run(main)


def test_a_namespace_that_went_is_followed_no_more() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.namespaces = ()
        streams.add("calls", "1")
        await streams.follow(3)
        assert streams.taken == []

    run(main)
