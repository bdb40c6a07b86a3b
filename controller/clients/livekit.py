"""LiveKit's RoomService as Roomkeeper needs it, on the official SDK.

What the SDK leaves to its user is done here, once: every call has a deadline (the SDK's own do not hold against a
frozen server), errors leave as those of `controller.errors` classified by status alone (bodies of 401 repeat whole
tokens), and a Room message never passes on, since it holds `turn_password`. Ownership is our mark in the room's
metadata, because CreateRoom adopts whatever lives under the name. Neighbours: `views.livekit` holds what is read
here, `act.livekit` writes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from typing import TypeVar

import aiohttp
import jwt
from google.protobuf.message import DecodeError
from livekit import api
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.models import Room as RoomMessage

from controller.clock import Clock
from controller.errors import (
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Forbidden,
    Invalid,
    NotFound,
    Overloaded,
)
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom, RoomRequest, parse_mark
from controller.telemetry import metrics

CALL_TIMEOUT_SECONDS = 4.0
_SERVICE_TOKEN_SECONDS = 600.0
T = TypeVar("T")


class LiveKitClient:
    """One LiveKit server. Build it inside a running loop; the session is the caller's.

    Tokens are signed here: the SDK would ask the machine's wall clock, and LiveKit refuses one that is minutes off.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, api_key: str, api_secret: str, clock: Clock) -> None:
        self._session = session
        self._url = url
        self._api_key = api_key
        self._api_secret = api_secret
        self._clock = clock
        self._service: api.room_service.RoomService | None = None
        self._service_until = 0.0

    async def create_room(self, request: RoomRequest) -> LiveKitRoom:
        """Create, or adopt what already lives under the name: compare `mark` and `sid` of the answer."""
        metadata = json.dumps(request.marked_metadata, separators=(",", ":"))
        message = api.CreateRoomRequest(
            name=request.name,
            empty_timeout=request.empty_timeout_seconds,
            departure_timeout=request.departure_timeout_seconds,
            max_participants=request.max_participants,
            metadata=metadata,
        )
        return _room(await self._call("CreateRoom", self._rooms().create_room(message)))

    async def list_rooms(self, names: tuple[str, ...] = ()) -> tuple[LiveKitRoom, ...]:
        """All rooms of the server, or those of `names` that exist."""
        answer = await self._call("ListRooms", self._rooms().list_rooms(api.ListRoomsRequest(names=list(names))))
        return tuple(_room(room) for room in answer.rooms)

    async def delete_room(self, name: str) -> None:
        """Delete. Raises NotFound where there is no such room."""
        await self._call("DeleteRoom", self._rooms().delete_room(api.DeleteRoomRequest(room=name)))

    async def list_participants(self, room: str) -> tuple[LiveKitParticipant, ...]:
        """Everybody in `room`; an unknown room answers with nobody."""
        request = api.ListParticipantsRequest(room=room)
        answer = await self._call("ListParticipants", self._people(room).list_participants(request))
        return tuple(_participant(info) for info in answer.participants)

    async def remove_participant(self, room: str, identity: str) -> None:
        """Remove a person. Raises NotFound where room or person are not there."""
        request = api.RoomParticipantIdentity(room=room, identity=identity)
        await self._call("RemoveParticipant", self._people(room).remove_participant(request))

    async def update_metadata(self, room: str, metadata: dict[str, object]) -> None:
        """Replace the room's metadata. Raises NotFound."""
        request = api.UpdateRoomMetadataRequest(room=room, metadata=json.dumps(metadata, separators=(",", ":")))
        await self._call("UpdateRoomMetadata", self._people(room).update_room_metadata(request))

    def _rooms(self) -> api.room_service.RoomService:
        """For calls about rooms as such. One token is kept for its half-life."""
        now = time.monotonic()
        if self._service is None or now >= self._service_until:
            self._service = self._service_with({"roomCreate": True, "roomList": True})
            self._service_until = now + _SERVICE_TOKEN_SECONDS / 2
        return self._service

    def _people(self, room: str) -> api.room_service.RoomService:
        """For calls about what is in `room`, and in no other."""
        return self._service_with({"roomAdmin": True, "room": room})

    def _service_with(self, grants: dict[str, object]) -> api.room_service.RoomService:
        now = int(self._clock.now().timestamp())
        claims = {"iss": self._api_key, "nbf": now, "exp": now + int(_SERVICE_TOKEN_SECONDS), "video": grants}
        token = jwt.encode(claims, self._api_secret, algorithm="HS256")
        return api.LiveKitAPI.with_token(token, self._url, session=self._session, failover=False).room

    async def _call(self, method: str, call: Awaitable[T]) -> T:
        started = time.monotonic()
        outcome = "200"
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                return await call
        except api.TwirpError as error:
            outcome = str(error.status)
            if error.status == 401:
                self._service = None  # should it have been the clock: the next call signs anew
            raise _error(method, error.status, error.code) from None
        except (TimeoutError, aiohttp.ClientError) as error:
            outcome = "unreachable"
            raise BackendUnavailable(
                Backend.LIVEKIT, method, f"no answer from LiveKit ({type(error).__name__})", may_have_run=True
            ) from None
        except DecodeError:
            outcome = "malformed"
            raise BackendUnavailable(
                Backend.LIVEKIT,
                method,
                "an answer that is no message of LiveKit's; is there a proxy in between?",
                may_have_run=True,
            ) from None
        finally:
            metrics.backend_call(Backend.LIVEKIT, method, outcome, time.monotonic() - started)


def _error(method: str, status: int, code: str) -> BackendError:
    # Status and Twirp code only: the message of a 401 repeats the whole token.
    if status == 404:
        return NotFound(Backend.LIVEKIT, method, "room or participant does not exist")
    if status in {401, 403}:
        return Forbidden(
            Backend.LIVEKIT,
            method,
            "LiveKit refused our API key: check key, secret and clock",
            retryable=True,
        )
    if status == 400:
        return Invalid(Backend.LIVEKIT, method, f"LiveKit refused the request as malformed ({code})")
    if status == 429 or status >= 500:
        return Overloaded(Backend.LIVEKIT, method, f"HTTP {status} ({code})", may_have_run=True)
    return BackendRefused(Backend.LIVEKIT, method, f"HTTP {status} ({code})")


def _room(message: RoomMessage) -> LiveKitRoom:
    return LiveKitRoom(message.name, message.sid, message.num_participants, parse_mark(message.metadata))


_SEATLESS = frozenset({ParticipantInfo.Kind.AGENT, ParticipantInfo.Kind.EGRESS})


def _participant(info: ParticipantInfo) -> LiveKitParticipant:
    return LiveKitParticipant(
        identity=info.identity,
        sid=info.sid,
        state=ParticipantInfo.State.Name(info.state),
        kind=ParticipantInfo.Kind.Name(info.kind),
        joined_at_ms=info.joined_at_ms or info.joined_at * 1000,
        takes_seat=not (info.kind in _SEATLESS or info.permission.agent or info.permission.recorder),
    )
