"""The shared connection to Redis, against a server that accepts connections and never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis import exceptions

from controller.clients.redis.wire import Wire


class Mute:
    """A server that counts its connections and is silent."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []
        self.has_some = asyncio.Event()

    async def accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.has_some.set()


@pytest.fixture
async def mute() -> Mute:
    return Mute()


@pytest.fixture
async def url(mute: Mute) -> AsyncIterator[str]:
    """The URL of the server. It has a password, so opening a connection needs an answer."""
    async with await asyncio.start_server(mute.accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"redis://:secret@{host}:{port}/0"
        for writer in mute.connections:
            writer.close()


async def test_all_who_wait_for_a_connection_fail_with_the_one_attempt(url: str, mute: Mute) -> None:
    wire = Wire(url, timeout_seconds=0.1)
    results = await asyncio.gather(*(wire.execute("PING") for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {exceptions.TimeoutError}
    assert len(mute.connections) == 1

    with pytest.raises(exceptions.TimeoutError):
        await wire.execute("PING")
    assert len(mute.connections) == 2
    await wire.close()


async def test_a_caller_that_is_cancelled_does_not_cancel_the_attempt_of_the_others(url: str, mute: Mute) -> None:
    wire = Wire(url, timeout_seconds=0.1)
    impatient = asyncio.create_task(wire.execute("PING"))
    patient = asyncio.create_task(wire.execute("PING"))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(exceptions.TimeoutError):
        await patient
    assert len(mute.connections) == 1
    await wire.close()


async def test_closing_fails_those_who_wait_for_a_connection(url: str, mute: Mute) -> None:
    wire = Wire(url, timeout_seconds=60)
    waiting = asyncio.create_task(wire.execute("PING"))
    await mute.has_some.wait()
    await wire.close()
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await waiting
