"""The reader of streams: every entry is passed on at least once, in order, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from controller.clients.redis.client import Redis, StreamEntry
from controller.errors import Backend, BackendRefused, BackendUnavailable, Forbidden, LeadershipLost, StateLost
from controller.triggers.stream import StreamReader
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.REDIS, "XREAD", "no answer")
WRONG = BackendRefused(Backend.REDIS, "signal", "the server refuses it (WRONGTYPE)")
PASSING = [AWAY, StateLost(Backend.REDIS, "script", "lost"), Forbidden(Backend.REDIS, "signal", "no"), LeadershipLost()]


class Streams:
    """Streams in memory, and one source that keeps the entries it gets.

    `failures` has the errors to raise, by namespace and entry, `starting` or `reading`, each as often as it is to
    happen.
    """

    def __init__(self) -> None:
        self.entries: list[StreamEntry] = []
        self.namespaces: tuple[str, ...] = ("calls",)
        self.taken: list[tuple[str, str]] = []
        self.finished: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str], list[Exception]] = {}
        self.are_apart = False

    def together(self, streams: Sequence[str]) -> Sequence[Sequence[str]]:
        """All streams in one group, or each in its own, as in a cluster."""
        return [[stream] for stream in streams] if self.are_apart else [streams] if streams else []

    async def read_streams(
        self, positions: Mapping[str, str], *, block_seconds: float, count: int = 100
    ) -> tuple[StreamEntry, ...]:
        """Return at most `count` entries after the positions; wait if there are none."""
        for stream in positions:
            self._fail(stream.partition(":")[0], "reading")
        found = tuple(entry for entry in self.entries if entry.id > positions.get(entry.stream, "9"))
        if not found:
            await asyncio.sleep(block_seconds)
        return found[:count]

    def lanes(self, entries: Sequence[StreamEntry]) -> Sequence[Sequence[StreamEntry]]:
        """Divide by the field `user`, which most entries lack."""
        users = dict.fromkeys(entry.fields.get("user", "") for entry in entries)
        return [[entry for entry in entries if entry.fields.get("user", "") == user] for user in users]

    def stream(self, namespace: str) -> str:
        return f"{namespace}:signals"

    async def start(self, namespace: str) -> str:
        self._fail(namespace, "starting")
        return "0" if namespace == "calls" else "2"

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        self._fail(namespace, entry.id)
        if entry.fields.get("user") == "slow":
            await asyncio.sleep(3600)
        self.taken.append((namespace, entry.id))

    async def done(self, namespace: str, entry_id: str) -> str:
        self._fail(namespace, "finishing")
        self.finished.append((namespace, entry_id))
        return entry_id

    async def follow(self, seconds: float) -> None:
        """Let a reader run for this long."""
        reader = StreamReader(cast("Redis", self), (self,), lambda: self.namespaces)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await reader.run(a_pulse())

    def add(self, namespace: str, *ids: str) -> None:
        self.entries += [StreamEntry(self.stream(namespace), entry_id, {}) for entry_id in ids]

    def fail(self, namespace: str, where: str, error: Exception, times: int = 1) -> None:
        self.failures[namespace, where] = [error] * times

    def _fail(self, namespace: str, where: str) -> None:
        if self.failures.get((namespace, where)):
            raise self.failures[namespace, where].pop()


def test_entries_from_before_the_start_of_the_reader_are_taken_in_order() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1", "2")
        streams.add("other", "1", "2", "3")
        streams.namespaces = ("calls", "other")
        await streams.follow(3)
        assert streams.taken == [("calls", "1"), ("calls", "2"), ("other", "3")]
        assert streams.finished == [("calls", "2"), ("other", "3")]

    run(main)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_an_entry_that_could_not_be_handled_comes_again(error: Exception) -> None:
    async def main(time: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1", "2", "3")
        streams.fail("calls", "2", error, times=2)
        await streams.follow(5)
        assert streams.taken == [("calls", "1"), ("calls", "2"), ("calls", "3")]
        assert streams.finished == [("calls", "3")]
        assert not [entry for entry in time.logs if entry["log_level"] == "warning"]

    run(main)


def test_an_entry_that_can_never_be_handled_is_reported_and_skipped() -> None:
    async def main(time: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1", "2", "3")
        streams.fail("calls", "2", WRONG, times=100)
        await streams.follow(3)
        assert streams.taken == [("calls", "1"), ("calls", "3")]
        assert streams.finished == [("calls", "3")]
        (warning,) = [entry for entry in time.logs if entry["log_level"] == "warning"]
        assert (warning["stream"], warning["entry"], "WRONGTYPE" in warning["error"]) == ("calls:signals", "2", True)

    run(main)


@pytest.mark.parametrize("where", ["1", "starting", "finishing"])
@pytest.mark.parametrize("error", [AWAY, WRONG], ids=lambda error: type(error).__name__)
def test_trouble_in_one_pool_does_not_stop_another(where: str, error: Exception) -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.namespaces = ("calls", "other")
        streams.add("calls", "1")
        streams.add("other", "3")
        streams.fail("calls", where, error, times=1000)
        await streams.follow(5)
        assert streams.finished.count(("other", "3")) == 1

    run(main)


def test_a_key_that_is_no_stream_is_reported_and_read_again_once_it_is_one() -> None:
    async def main(time: VirtualTime) -> None:
        streams = Streams()
        streams.namespaces = ("calls", "other")
        streams.add("calls", "1")
        streams.add("other", "3")
        streams.fail("calls", "reading", WRONG, times=2)
        await streams.follow(20)
        assert streams.taken == [("other", "3")]
        (warning,) = [entry for entry in time.logs if entry["log_level"] == "warning"]
        assert warning["stream"] == "calls:signals"

    run(main)


def test_a_stream_is_read_again_half_a_minute_after_it_was_refused() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1")
        streams.fail("calls", "reading", WRONG)
        await streams.follow(40)
        assert streams.taken == [("calls", "1")]

    run(main)


def test_an_entry_whose_handling_could_not_be_stored_comes_again() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1", "2")
        streams.fail("calls", "finishing", AWAY)
        await streams.follow(5)
        assert streams.taken == [("calls", "1"), ("calls", "2")], "only the position was left to be stored"
        assert streams.finished == [("calls", "2")]

    run(main)


def test_streams_that_one_read_cannot_name_together_are_read_within_half_a_second() -> None:
    async def main(time: VirtualTime) -> None:
        streams = Streams()
        streams.are_apart = True
        streams.namespaces = tuple(f"pool-{n}" for n in range(100))
        reading = asyncio.create_task(streams.follow(100))
        for n in range(100):
            await asyncio.sleep(0.317)
            streams.add(f"pool-{n}", "3")
            await asyncio.sleep(0.5)
            assert streams.taken[-1] == (f"pool-{n}", "3")
            if n == 50:
                streams.fail("pool-0", "reading", AWAY, times=1000)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    run(main)


def test_while_redis_is_away_it_is_asked_once_a_second() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.add("calls", "1")
        streams.fail("calls", "reading", AWAY, times=1000)
        await streams.follow(10)
        assert 985 <= len(streams.failures["calls", "reading"]) <= 995
        assert streams.taken == []

    run(main)


def test_the_lanes_of_a_stream_do_not_wait_for_one_another() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.entries = [
            StreamEntry("calls:signals", "1", {"user": "slow"}),
            StreamEntry("calls:signals", "2", {"user": "alice"}),
            StreamEntry("calls:signals", "3", {"user": "alice"}),
        ]
        await streams.follow(1)
        assert streams.taken == [("calls", "2"), ("calls", "3")]

    run(main)


def test_a_namespace_that_is_gone_is_no_longer_followed() -> None:
    async def main(_: VirtualTime) -> None:
        streams = Streams()
        streams.namespaces = ()
        streams.add("calls", "1")
        await streams.follow(3)
        assert streams.taken == []

    run(main)
