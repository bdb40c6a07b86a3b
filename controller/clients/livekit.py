"""LiveKit's RoomService as Roomkeeper needs it, on the official SDK.

This client adds what the SDK leaves to its user. Every request has a deadline of ours, because the SDK's own does not
hold against a frozen server. Errors are classified by status alone, because the body of a 401 repeats the whole token.
A Room message stays here and in `clients.livekit_rows`, because it holds `turn_password`. Our mark in the metadata says
who owns a room, because CreateRoom adopts any room that has the name. Neighbors: `clients.request` limits and measures
each request, `clients.livekit_rows` reads lists of rooms, `views.livekit` keeps what is read, `act.livekit` writes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import aiohttp
import jwt
from google.protobuf.message import DecodeError
from livekit import api
from livekit.api.twirp_client import TwirpClient
from livekit.protocol.models import DataPacket, ParticipantInfo

from controller.clients.breaker import Breaker
from controller.clients.certificates import TlsCode
from controller.clients.livekit_checks import LiveKitChecks
from controller.clients.livekit_rows import RoomReader, RoomRows, room_of
from controller.clients.livekit_tls import Certificates, WithCertificates, fault_of
from controller.clients.reading import NO_SENSE, place_ms, reading
from controller.clients.request import Limits, Requests
from controller.clock import Clock
from controller.errors import (
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Code,
    Forbidden,
    Invalid,
    NotFound,
    Overloaded,
    Untrusted,
)
from controller.facts.livekit import UNKNOWN_WORD, LiveKitParticipant, LiveKitRoom, RoomRequest
from controller.settings.redis_address import AddressError

_SERVICE_TOKEN_SECONDS = 600.0
_NOT_FOUND = "not_found"
_NO_NODE = "no response from servers"
# How long LiveKit waits for the node of a participant before it says so.
_NODE_SECONDS = 3.0
CHECK_ROOM = "roomkeeper-check"
"""The room that is made to see whether any node answers."""
T = TypeVar("T")


class LiveKitClient:
    """One LiveKit server. Build it inside a running loop; the session is the caller's.

    Every method raises BackendUnavailable when LiveKit does not answer, and a BackendRefused for a refusal. The client
    signs its tokens itself: the SDK would use the machine's wall clock, and LiveKit refuses a token minutes off.
    `server` is the name of the server in the log and in metrics.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        api_key: str,
        api_secret: str,
        clock: Clock,
        *,
        limits: Limits | None = None,
        certificates: Certificates | None = None,
        server: str = "",
    ) -> None:
        self._certificates = certificates or Certificates()
        self.checks = LiveKitChecks(session, url, self._certificates, clock, self._sign_for_a_minute)
        self._session = cast("aiohttp.ClientSession", WithCertificates(session, self._certificates))
        self._twirp = TwirpClient(self._session, url, "livekit", failover=False)
        self._url = url
        self._api_key = api_key
        self._api_secret = api_secret
        self._clock = clock
        self._requests = Requests(
            Backend.LIVEKIT,
            _RAISED,
            limits=limits,
            server=server,
            answers=_ANSWERS,
            is_clock_wrong=self.checks.is_clock_wrong,
        )
        self._server_token: str | None = None
        self._server_token_until = 0.0
        self._service: tuple[str, api.room_service.RoomService] | None = None
        self._reader = RoomReader()

    def use_key(self, api_key: str, api_secret: str) -> None:
        """Sign every further request with this API key."""
        if (api_key, api_secret) != (self._api_key, self._api_secret):
            self._api_key, self._api_secret = api_key, api_secret
            self._server_token = None

    def introduce(self, address: str) -> None:
        """Say in the log whether the server answers, and of which version it is. `address` holds no secret."""
        self._requests.availability.introduce(address, self.checks.version)

    def close(self) -> None:
        """The client is no longer used. The session is closed by its owner."""
        self._requests.close()

    def trust(self, ca: str) -> None:
        """Trust these CAs (PEM) too, beside those of the settings."""
        self._certificates.trust(ca)

    @property
    def deadline_seconds(self) -> float:
        """After how many seconds a request is given up."""
        return self._requests.limits.deadline_seconds

    @property
    def breaker(self) -> Breaker:
        """Says whether requests are sent to this server at the moment."""
        return self._requests.breaker

    async def create_room(self, request: RoomRequest) -> LiveKitRoom:
        """Create a room, or adopt the one that has the name already: compare `mark` and `sid` of the answer."""
        metadata = json.dumps(request.marked_metadata, separators=(",", ":"))
        message = api.CreateRoomRequest(
            name=request.name,
            empty_timeout=request.empty_timeout_seconds,
            departure_timeout=request.departure_timeout_seconds,
            max_participants=request.max_participants,
            metadata=metadata,
        )
        room = await self._send("CreateRoom", lambda: self._rooms().create_room(message))
        with reading(Backend.LIVEKIT, "CreateRoom"):
            return room_of(room)

    async def list_rooms(self, names: tuple[str, ...] = ()) -> tuple[LiveKitRoom, ...]:
        """Return all rooms of the server, or those of `names` that exist.

        A room that is as it was in the latest list of all rooms is the same object. A long answer is read in slices,
        and the rest of the program goes on between them. The list of all rooms is asked for while the breaker is open
        too: the poller asks at intervals, and its answer ends an outage although another request hangs as the probe.
        """
        request = api.ListRoomsRequest(names=list(names))
        answer = await self._send("ListRooms", lambda: self._ask_for_rows(request), is_essential=not names)
        return await self._reader.read(answer.rows, is_complete=not names)

    async def metadata_of(self, room: str) -> dict[str, object] | None:
        """The metadata of a room, as it is now; None if it is no object in JSON. Raises NotFound."""
        answer = await self._send("ListRooms", lambda: self._rooms().list_rooms(api.ListRoomsRequest(names=[room])))
        if not answer.rooms:
            raise NotFound(Backend.LIVEKIT, "ListRooms", f"there is no room {room}")
        try:
            found = json.loads(answer.rooms[0].metadata or "{}")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    async def delete_room(self, name: str) -> None:
        """Delete a room. Raises NotFound if it does not exist."""
        request = api.DeleteRoomRequest(room=name)
        await self._send("DeleteRoom", lambda: self._rooms().delete_room(request))

    async def list_participants(self, room: str) -> tuple[LiveKitParticipant, ...]:
        """Return the participants of `room`; an unknown room has none."""
        request = api.ListParticipantsRequest(room=room)
        answer = await self._send("ListParticipants", lambda: self._people(room).list_participants(request))
        with reading(Backend.LIVEKIT, "ListParticipants"):
            return tuple(_participant(info) for info in answer.participants)

    async def remove_participant(self, room: str, identity: str) -> None:
        """Remove a participant. Raises NotFound if the room or the participant does not exist."""
        request = api.RoomParticipantIdentity(room=room, identity=identity)
        await self._send("RemoveParticipant", lambda: self._people(room).remove_participant(request))

    async def probe(self, room: str, identity: str) -> str | None:
        """The sid of a participant whose node answers; None if no node answers for them.

        The request asks for a change of nothing, so nothing changes and no client is told. LiveKit passes it on to the
        node that has the participant, unlike GetParticipant and the lists, which read what is stored. LiveKit gives
        that node 3 s. Raises NotFound if the participant is not listed.
        """
        request = api.UpdateParticipantRequest(room=room, identity=identity)

        async def attempt() -> str | None:
            try:
                return str((await self._people(room).update_participant(request)).sid)
            except api.TwirpError as error:
                if _is_unanswered(error):
                    return None
                raise

        return await self._send("UpdateParticipant", attempt, waits_seconds=_NODE_SECONDS)

    async def has_nodes_that_answer(self) -> bool:
        """Whether LiveKit reaches a node at all: it makes a room that closes by itself a second later."""
        message = api.CreateRoomRequest(name=CHECK_ROOM, empty_timeout=1, departure_timeout=1, max_participants=1)

        async def attempt() -> bool:
            try:
                await self._rooms().create_room(message)
            except api.TwirpError as error:
                if _is_unanswered(error):
                    return False
                raise
            return True

        return await self._send("CreateRoom", attempt, waits_seconds=_NODE_SECONDS)

    async def update_metadata(self, room: str, metadata: dict[str, object]) -> None:
        """Replace the room's metadata. Raises NotFound if the room does not exist."""
        request = api.UpdateRoomMetadataRequest(room=room, metadata=json.dumps(metadata, separators=(",", ":")))
        await self._send("UpdateRoomMetadata", lambda: self._people(room).update_room_metadata(request))

    async def send_data(self, room: str, topic: str, message: dict[str, object]) -> None:
        """Send a message in JSON to all participants of `room`, which must exist. LiveKit does not confirm it."""
        data = json.dumps(message, separators=(",", ":")).encode()
        request = api.SendDataRequest(room=room, data=data, kind=DataPacket.Kind.RELIABLE, topic=topic)
        await self._send("SendData", lambda: self._people(room).send_data(request))

    async def _ask_for_rows(self, request: api.ListRoomsRequest) -> Any:
        """Send a ListRooms; return its answer as RoomRows. The SDK's own method decodes every room."""
        headers = {"Authorization": f"Bearer {self._token_of_server()}"}
        return await self._twirp.request("RoomService", "ListRooms", request, headers, RoomRows)

    def _rooms(self) -> api.room_service.RoomService:
        """Return the service for requests about rooms as such. It is made once for each token."""
        token = self._token_of_server()
        if self._service is None or self._service[0] != token:
            self._service = token, self._service_with(token)
        return self._service[1]

    def _people(self, room: str) -> api.room_service.RoomService:
        """Return the service for requests about the contents of `room`, with a token for this room alone."""
        return self._service_with(self._token({"roomAdmin": True, "room": room}, _SERVICE_TOKEN_SECONDS))

    def _service_with(self, token: str) -> api.room_service.RoomService:
        return api.LiveKitAPI.with_token(token, self._url, session=self._session, failover=False).room

    def _token_of_server(self) -> str:
        """Return the token for requests about rooms as such. It is used for half of its lifetime."""
        now = time.monotonic()
        if self._server_token is None or now >= self._server_token_until:
            self._server_token = self._token({"roomCreate": True, "roomList": True}, _SERVICE_TOKEN_SECONDS)
            self._server_token_until = now + _SERVICE_TOKEN_SECONDS / 2
        return self._server_token

    def _sign_for_a_minute(self, grants: dict[str, object], subject: str) -> str:
        return self._token(grants, 60.0, sub=subject)

    def _token(self, grants: dict[str, object], seconds: float, **claims: str) -> str:
        now = int(self._clock.now().timestamp())
        whole = {"iss": self._api_key, "nbf": now, "exp": now + int(seconds), "video": grants, **claims}
        return jwt.encode(whole, self._api_secret, algorithm="HS256")

    async def _send(
        self,
        method: str,
        attempt: Callable[[], Awaitable[T]],
        *,
        waits_seconds: float = 0.0,
        is_essential: bool = False,
    ) -> T:
        def translate(error: Exception) -> BackendError:
            return _translate(
                error,
                method,
                deadline_seconds=self.deadline_seconds,
                has_certificate=self._certificates.has_own,
            )

        try:
            return await self._requests.send(
                method, attempt, translate, waits_seconds=waits_seconds, is_essential=is_essential
            )
        except Forbidden as error:
            if error.code == "401":
                self._server_token = None  # If the clock was the cause, the next request signs a new token.
            raise


def _translate(error: Exception, method: str, *, deadline_seconds: float, has_certificate: bool) -> BackendError:
    if isinstance(error, api.TwirpError):
        if _is_unanswered(error):
            sentence = "no node of LiveKit has answered it; check that its nodes run and reach its Redis"
            return Overloaded(Backend.LIVEKIT, method, sentence, may_have_run=True, code=Code.NO_NODE)
        return _refusal(method, error.status, error.code)
    if (fault := fault_of(error, has_own=has_certificate)) is not None:
        return Untrusted(Backend.LIVEKIT, method, fault.sentence, code=fault.code)
    if isinstance(error, AddressError):
        return Untrusted(Backend.LIVEKIT, method, f"TLS {error}", code=TlsCode.OURS_UNUSABLE)
    if isinstance(error, (DecodeError, *NO_SENSE)):
        message = "an answer that is no message of LiveKit's; is there a proxy in between?"
        code = Code.MALFORMED
    elif isinstance(error, TimeoutError):
        message = (
            f"no answer within {deadline_seconds:g} s; check that LiveKit runs and that its URL is right, or, if it is "
            "only slow, raise ROOMKEEPER_LIVEKIT_TIMEOUT_SECONDS"
        )
        code = Code.TIMEOUT
    else:
        message = f"no answer from LiveKit ({type(error).__name__}); check that it runs and that its URL is right"
        code = Code.UNREACHABLE
    return BackendUnavailable(Backend.LIVEKIT, method, message, may_have_run=True, code=code)


# LiveKit answered, and only the node that has this room or participant did not.
_ANSWERS = frozenset({str(Code.NO_NODE)})
# The SDK stumbles over a refusal whose body is JSON, but no object.
_RAISED = (api.TwirpError, TimeoutError, aiohttp.ClientError, AddressError, DecodeError, *NO_SENSE)


def _is_unanswered(error: api.TwirpError) -> bool:
    """Whether LiveKit says that no node has answered it. A proxy that answers 503 says something else."""
    return (error.status, error.code) == (503, "unavailable") and _NO_NODE in error.message


def _refusal(method: str, status: int, twirp_code: str) -> BackendError:
    # Only the status and Twirp's code are used: the message of a 401 repeats the whole token.
    code = str(status)
    if status == 404 and twirp_code == _NOT_FOUND:
        return NotFound(Backend.LIVEKIT, method, "room or participant does not exist", code=code)
    if status == 404:
        sentence = f"HTTP 404 ({twirp_code}) that does not come from LiveKit's RoomService; is the URL right?"
        return BackendUnavailable(Backend.LIVEKIT, method, sentence, code=code)
    if status in {401, 403}:
        sentence = (
            "LiveKit refused our API key; check API key and secret, which are in LiveKit's `keys`, and the clocks"
        )
        return Forbidden(Backend.LIVEKIT, method, sentence, retryable=True, code=code)
    if status == 400:
        sentence = f"LiveKit refused the request as malformed ({twirp_code})"
        return Invalid(Backend.LIVEKIT, method, sentence, code=code)
    sentence = f"HTTP {status} ({twirp_code})"
    if status == 429 or status >= 500:
        return Overloaded(Backend.LIVEKIT, method, sentence, may_have_run=True, code=code)
    return BackendRefused(Backend.LIVEKIT, method, sentence, code=code)


_SEATLESS = frozenset({ParticipantInfo.Kind.AGENT, ParticipantInfo.Kind.EGRESS})


def _word(words: Any, number: int) -> str:
    """The name of a value of an enum. The next LiveKit has values that this SDK has no name for."""
    return str(words.Name(number)) if number in words.values() else UNKNOWN_WORD


def _participant(info: ParticipantInfo) -> LiveKitParticipant:
    return LiveKitParticipant(
        identity=info.identity,
        sid=info.sid,
        state=_word(ParticipantInfo.State, info.state),
        kind=_word(ParticipantInfo.Kind, info.kind),
        joined_at_ms=place_ms(info.joined_at_ms or info.joined_at * 1000),
        takes_seat=not (info.kind in _SEATLESS or info.permission.agent or info.permission.recorder),
    )
