"""The door of a port: connections are bounded in number, and one that asks for nothing does not stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from controller.app.door import Door
from controller.app.endpoints import listening
from tests.support.waiting import eventually, patience

MOST = 20
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Port:
    """A port behind a door, and what the door refused."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.number = 0

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(sent)
        return reader, writer


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    made, app = Port(), web.Application()
    app.router.add_get("/", answer)
    door = Door(MOST, lambda code, _why, _peer: made.refused.append(code), silent_seconds=0.5)
    async with listening(app, door, "127.0.0.1", 0) as server:
        made.number = server.sockets[0].getsockname()[1]
        yield made


async def test_a_connection_beyond_the_limit_is_told_to_come_again(port: Port) -> None:
    held = [await port.connect(b"GET") for _ in range(MOST)]
    reader, writer = await port.connect(REQUEST)
    answer = await asyncio.wait_for(reader.read(), patience())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in answer
    assert answer.endswith(b"\r\n\r\ntoo many connections, wait\n")
    assert port.refused[0] == "full"
    for _, other in [*held, (reader, writer)]:
        other.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_that_sends_no_request_is_closed_and_makes_room(port: Port, sent: bytes) -> None:
    held = [await port.connect(sent) for _ in range(MOST)]
    for reader, writer in held:
        await asyncio.wait_for(reader.read(), patience())
        writer.close()
    assert port.refused.count("silent") == MOST

    async def is_served() -> None:
        reader, writer = await port.connect(REQUEST)
        answer = await reader.readline()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")

    await eventually(is_served)


async def test_a_connection_that_has_sent_a_request_stays_open_for_the_next(port: Port) -> None:
    reader, writer = await port.connect(REQUEST)
    for _ in range(2):
        await reader.readuntil(b"here")
        await asyncio.sleep(0.7)
        writer.write(REQUEST)
    await reader.readuntil(b"here")
    writer.close()
    assert port.refused == []
