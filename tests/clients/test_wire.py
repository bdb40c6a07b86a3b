"""The shared connection to Redis, against a server that accepts connections and never answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from redis import exceptions

from controller.clients.redis.errors import TlsFailed
from controller.clients.redis.target import Locate, Target, fixed
from controller.clients.redis.wire import Wire, _Stream
from controller.settings.redis_address import Access, Node


class Mute:
    """A server that counts its connections and is silent."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []
        self.has_some = asyncio.Event()
        self.has_heard = asyncio.Event()
        self.has_seen_an_end = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self.has_some.set()
        while await reader.read(1000):
            self.has_heard.set()
        self.has_seen_an_end.set()
        writer.close()


@pytest.fixture
async def mute() -> Mute:
    return Mute()


@pytest.fixture
async def there(mute: Mute) -> AsyncIterator[Locate]:
    """Where the server is. It wants a password, so opening a connection needs an answer."""
    async with await asyncio.start_server(mute.accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield fixed(Target(Node(host, port), Access(password="secret")))
        for writer in mute.connections:
            writer.close()


async def test_all_who_wait_for_a_connection_fail_with_the_one_attempt(there: Locate, mute: Mute) -> None:
    wire = Wire(there, timeout_seconds=0.1)
    results = await asyncio.gather(*(wire.execute("PING") for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {exceptions.TimeoutError}
    assert len(mute.connections) == 1

    with pytest.raises(exceptions.TimeoutError):
        await wire.execute("PING")
    assert len(mute.connections) == 2
    await wire.close()


async def test_a_caller_that_is_cancelled_does_not_cancel_the_attempt_of_the_others(there: Locate, mute: Mute) -> None:
    wire = Wire(there, timeout_seconds=0.1)
    impatient = asyncio.create_task(wire.execute("PING"))
    patient = asyncio.create_task(wire.execute("PING"))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(exceptions.TimeoutError):
        await patient
    assert len(mute.connections) == 1
    await wire.close()


async def test_closing_fails_those_who_wait_for_a_connection(there: Locate, mute: Mute) -> None:
    wire = Wire(there, timeout_seconds=60)
    waiting = asyncio.create_task(wire.execute("PING"))
    await mute.has_some.wait()
    await wire.close()
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await waiting


async def test_closing_ends_the_connection_that_waits_for_its_greeting(there: Locate, mute: Mute) -> None:
    wire = Wire(there, timeout_seconds=60)
    waiting = asyncio.create_task(wire.execute("PING"))
    await mute.has_heard.wait()
    await wire.close()
    await asyncio.wait_for(mute.has_seen_an_end.wait(), 30)
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await waiting


async def test_dropping_ends_the_attempt_too_and_the_next_command_asks_again_where_the_server_is(
    there: Locate, mute: Mute
) -> None:
    """The attempt leads to the server that was the right one when it began."""
    asked: list[Target] = []

    async def locate() -> Target:
        asked.append(await there())
        return asked[-1]

    wire = Wire(locate, timeout_seconds=60)
    first = asyncio.create_task(wire.execute("PING"))
    await mute.has_heard.wait()
    wire.drop()
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await asyncio.wait_for(first, 30)
    await asyncio.wait_for(mute.has_seen_an_end.wait(), 30)
    mute.has_heard.clear()
    second = asyncio.create_task(wire.execute("PING"))
    await mute.has_heard.wait()
    assert (len(asked), len(mute.connections)) == (2, 2)
    wire.drop()
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await second


async def test_a_command_after_closing_opens_another_connection(there: Locate, mute: Mute) -> None:
    wire = Wire(there, timeout_seconds=0.1)
    first = asyncio.create_task(wire.execute("PING"))
    await mute.has_heard.wait()
    await wire.close()
    second = asyncio.create_task(wire.execute("PING"))
    with pytest.raises(exceptions.ConnectionError, match="closed"):
        await first
    with pytest.raises(exceptions.TimeoutError):
        await second
    assert len(mute.connections) == 2
    await wire.close()


@pytest.mark.parametrize("has_answered", [True, False])
async def test_a_broken_stream_of_tls_says_something_about_certificates_before_the_first_answer_only(
    has_answered: bool,
) -> None:
    stream = _Stream(asyncio.get_running_loop(), 60, None, has_tls=True)
    if has_answered:
        answer = stream.send(("PING",))
        stream.data_received(b"+PONG\r\n")
        assert await answer == "PONG"
    waiting = stream.send(("PING",))
    error = ssl.SSLError(1, "[SSL] record layer failure")
    error.reason = "RECORD_LAYER_FAILURE"
    stream.connection_lost(error)
    with pytest.raises(exceptions.ConnectionError) as caught:
        await waiting
    assert isinstance(caught.value, TlsFailed) is not has_answered
