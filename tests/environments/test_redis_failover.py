"""A Redis behind one address that fails over: the client leaves the old master and finds the new one by the address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.redis_pair import HOST, Failover, Pair, Switch
from controller.clients.redis.client import Redis, StreamEntry
from controller.errors import BackendError
from tests.redis.servers import programs
from tests.support.real_programs import MARKER
from tests.support.waiting import eventually

pytestmark = getattr(pytest.mark, MARKER)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with Pair(programs()["valkey"], tmp_path) as both:
        yield both


@pytest.mark.parametrize("how", Failover)
async def test_writes_and_reads_that_block_follow_the_address(pair: Pair, how: Failover) -> None:
    async with Switch(pair.master) as switch:
        client = Redis.from_url(f"redis://{HOST}:{switch.port}/0")
        heard: list[StreamEntry] = []

        async def listen() -> None:
            position = "0"
            while True:
                try:
                    entries = await client.read_streams({"signals": position}, block_seconds=0.5)
                except BackendError:
                    await asyncio.sleep(0.05)
                    continue
                heard.extend(entries)
                position = entries[-1].id if entries else position

        listening = asyncio.create_task(listen())

        async def write(value: str) -> None:
            try:
                await client.append("signals", {"value": value}, max_entries=100)
            except BackendError as error:
                raise AssertionError(error.sentence) from error

        for number in range(3):
            value = f"after {number}"
            await eventually(lambda: write(value))  # noqa: B023 (awaited at once)

            async def is_heard() -> None:
                assert value in [entry.fields["value"] for entry in heard]  # noqa: B023 (awaited at once)

            await eventually(is_heard)
            assert value in await pair.ask(pair.master, "XREVRANGE", "signals", "+", "-", "COUNT", 1)
            await pair.repair()
            await pair.fail_over(how, switch)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await client.close()


async def test_reads_leave_a_demoted_master_as_soon_as_a_write_has_found_it_out(pair: Pair) -> None:
    """It still answers reads, and no longer hears what is written: its own link to the new master is broken."""
    async with Switch(pair.master) as switch:
        client = Redis.from_url(f"redis://{HOST}:{switch.port}/0")
        first = await client.append("signals", {"value": "before"}, max_entries=100)
        assert await client.read_streams({"signals": "0"}, block_seconds=0.01)
        await pair.ask(pair.master, "WAIT", 1, 0)
        await pair.fail_over(Failover.DEMOTED, switch)
        await pair.ask(pair.replica, "REPLICAOF", HOST, 1)

        async def written() -> None:
            try:
                await client.append("signals", {"value": "after"}, max_entries=100)
            except BackendError as error:
                raise AssertionError(error.sentence) from error

        await eventually(written)
        heard = await client.read_streams({"signals": first}, block_seconds=1.0)
        assert [entry.fields["value"] for entry in heard] == ["after"]
        await client.close()


async def test_a_server_that_loads_its_data_is_asked_again_until_it_has_them(pair: Pair) -> None:
    """`replica-serve-stale-data no` makes a replica without its master answer MASTERDOWN to everything."""
    async with Switch(pair.replica) as switch:
        client = Redis.from_url(f"redis://{HOST}:{switch.port}/0")
        await pair.ask(pair.replica, "CONFIG", "SET", "replica-serve-stale-data", "no")
        await pair.ask(pair.replica, "REPLICAOF", HOST, 1)
        with pytest.raises(BackendError, match=r"the server says not now \((MASTERDOWN|READONLY)\)"):
            await client.text("key")
        switch.target = pair.master
        assert await client.text("key") is None
        await client.close()
