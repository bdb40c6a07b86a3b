"""What a LiveKit server shows of itself beside its rooms: its clock, `auto_create`, its version.

None of this is part of the RoomService. No check raises: what cannot be found out is None or empty. Neighbors:
`triggers.server_checker` asks at intervals, `doctor.stores` once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from google.protobuf.message import DecodeError
from livekit.protocol.agent import RegisterWorkerRequest, ServerMessage, WorkerMessage

from controller.clients.livekit_tls import Certificates
from controller.clock import Clock
from controller.errors import clip
from controller.facts.server import CLOCK_LEEWAY_SECONDS
from controller.settings.redis_address import AddressError

Sign = Callable[[dict[str, object], str], str]

_SECONDS: Final = 4.0
_LONGEST_VERSION: Final = 64
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, AddressError, OSError)


class LiveKitChecks:
    """The checks of one server. `sign(grants, subject)` makes a token that is good for a minute."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, certificates: Certificates, clock: Clock, sign: Sign
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._certificates = certificates
        self._clock = clock
        self._sign = sign

    async def clock_ahead_seconds(self) -> float | None:
        """By how many seconds the server's clock is ahead of ours, which is that of the API server."""
        try:
            async with asyncio.timeout(_SECONDS), self._session.get(self._url, **self._options()) as response:
                told = parsedate_to_datetime(response.headers.get("Date", ""))
            return (told - self._clock.now()).total_seconds()
        except (*_NO_ANSWER, ValueError, TypeError):
            return None

    async def is_clock_wrong(self) -> bool:
        """Whether the server's clock is so far off that it refuses our tokens. False if that is not known."""
        ahead = await self.clock_ahead_seconds()
        return ahead is not None and abs(ahead) > CLOCK_LEEWAY_SECONDS

    async def auto_create(self) -> bool | None:
        """Whether the server would let a participant into a room that does not exist."""
        room = f"roomkeeper-check-{secrets.token_hex(8)}"
        token = self._sign({"roomJoin": True, "room": room}, "roomkeeper-check")
        url = f"{self._url}/rtc/validate"
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._session.get(url, params={"access_token": token}, **self._options()) as response,
            ):
                status = response.status
        except _NO_ANSWER:
            return None
        return {200: True, 404: False}.get(status)

    async def version(self) -> str:
        """The version of the node that answers, as it tells an agent that registers; empty if it is not known.

        The agent has a name of its own, so no job is given to it, and it leaves at once.
        """
        headers = {"Authorization": f"Bearer {self._sign({'agent': True}, 'roomkeeper-check')}"}
        hello = RegisterWorkerRequest(agent_name=f"roomkeeper-check-{secrets.token_hex(8)}")
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._session.ws_connect(f"{self._url}/agent", headers=headers, **self._options()) as socket,
            ):
                await socket.send_bytes(WorkerMessage(register=hello).SerializeToString())
                answer = await socket.receive()
            if answer.type is not aiohttp.WSMsgType.BINARY:
                return ""
            return clip(ServerMessage.FromString(answer.data).register.server_info.version, _LONGEST_VERSION)
        except (*_NO_ANSWER, DecodeError, UnicodeDecodeError):
            return ""

    def _options(self) -> dict[str, Any]:
        return {"ssl": self._certificates.context()}
