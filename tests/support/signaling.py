"""A client that opens LiveKit's signaling but gets no media, as behind a firewall."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp

from sandbox.endpoints import Endpoints
from tests.support.waiting import patience


@contextlib.asynccontextmanager
async def only_signaling(where: Endpoints, token: str) -> AsyncIterator[None]:
    """Let LiveKit list the owner of `token` as JOINED within the block. Keep it short: pings are not answered."""
    query = {"access_token": token, "protocol": "15", "auto_subscribe": "1", "sdk": "other"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{where.livekit_url}/rtc", params=query) as socket,
    ):
        welcome = await socket.receive(timeout=patience())
        assert welcome.type is aiohttp.WSMsgType.BINARY, welcome
        yield
