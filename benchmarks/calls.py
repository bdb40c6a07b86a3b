"""The requests that every way of making a Match Ready needs, each in its simplest form.

Claim, Room, LiveKit room, Room status, Secret, Match status: `floor` and `kopf_operator` make them one after another,
with the same bodies that Roomkeeper sends. The claim is the operator's own script, sent by its own client. The requests
of the end are in `last_calls`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import aiohttp
import orjson
from google.protobuf.message import Message
from livekit.protocol.models import Room as RoomMessage
from livekit.protocol.room import CreateRoomRequest

from benchmarks.access import Access, Body, CallFailed, call
from benchmarks.statuses import TOKEN_SECONDS, match_status, room_status, text_of
from controller.api.names import (
    API_VERSION,
    FINALIZER,
    MARK_KEY,
    MATCH,
    ROOM,
    TOKENS_KEY,
    livekit_room_name,
    room_name,
    token_secret_name,
)
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import ClaimOk
from controller.clients.redis.requests import Claimant, ClaimRequest

MERGE = "application/merge-patch+json"
_JWT_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
_SERVICE_TOKEN_SECONDS = 3600


class UnavoidableCalls:
    """One method per request. The caller owns the sessions and the pool (`bound_pool`)."""

    def __init__(
        self, access: Access, kubernetes: aiohttp.ClientSession, livekit: aiohttp.ClientSession, pool: Pool
    ) -> None:
        self._access = access
        self._kubernetes = kubernetes
        self._pool = pool
        self._room_service = RoomService(access, livekit)

    async def claim(self, match: Body) -> None:
        """Take both users."""
        metadata = match["metadata"]
        users = tuple(Claimant(person["identity"]) for person in match["spec"]["participants"])
        request = ClaimRequest(metadata["uid"], metadata["name"], metadata["uid"], users)
        reply = await self._pool.claim(request, now_ms=int(time.time() * 1000))
        if not isinstance(reply, ClaimOk):
            raise CallFailed(f"claim of {metadata['name']}: {reply}")

    async def create_room(self, match: Body) -> Body:
        """Create the Room that the Match owns; return the server's answer."""
        spec, uid = match["spec"], match["metadata"]["uid"]
        body = {
            "apiVersion": API_VERSION,
            "kind": ROOM.kind,
            "metadata": {
                "name": room_name(uid),
                "finalizers": [FINALIZER],
                "ownerReferences": [_owner(match, block_deletion=True)],
            },
            "spec": {
                **spec["room"],
                "allowedIdentities": [person["identity"] for person in spec["participants"]],
                "deletionPolicy": "Delete",
                "maxAgeSeconds": 0,
                "metadata": {},
                "placement": {"serverName": "", "serverSelector": {"matchLabels": {}}},
                "terminationReason": "",
            },
        }
        return await call(self._kubernetes, "POST", self._access.collection(ROOM.plural), body)

    async def create_livekit_room(self, match: Body, room: Body) -> RoomMessage:
        """Create the room on LiveKit; return its answer."""
        access, metadata, spec = self._access, room["metadata"], room["spec"]
        mark = {
            "cluster": access.cluster_id,
            "namespace": access.namespace,
            "name": metadata["name"],
            "rootUID": match["metadata"]["uid"],
            "roomUID": metadata["uid"],
        }
        request = CreateRoomRequest(
            name=livekit_room_name(access.cluster_id, access.namespace, metadata["uid"]),
            empty_timeout=spec["emptyTimeoutSeconds"],
            departure_timeout=spec["departureTimeoutSeconds"],
            max_participants=spec["maxParticipants"],
            metadata=orjson.dumps({MARK_KEY: mark}).decode(),
        )
        return RoomMessage.FromString(await self._room_service.call("CreateRoom", request))

    async def write_room_status(self, room: Body, livekit: RoomMessage) -> None:
        """Write the status of a Room that is there."""
        await write_status(self._kubernetes, self._access.collection(ROOM.plural), room, room_status(livekit))

    async def create_secret(self, match: Body, livekit: RoomMessage) -> None:
        """Create the Secret with the two tokens."""
        metadata = match["metadata"]
        expires = int(time.time()) + TOKEN_SECONDS
        entries = {
            person["identity"]: self._entry(person["identity"], livekit.name, expires)
            for person in match["spec"]["participants"]
        }
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": token_secret_name(metadata["uid"]),
                "labels": {"app.kubernetes.io/managed-by": "roomkeeper"},
                "ownerReferences": [_owner(match, block_deletion=False)],
            },
            "data": {TOKENS_KEY: base64.b64encode(orjson.dumps(entries)).decode()},
        }
        await call(self._kubernetes, "POST", self._access.core("secrets"), body)

    async def write_match_status(self, match: Body, livekit: RoomMessage) -> None:
        """Write the status of a Match that is Ready."""
        status = match_status(self._access, match, livekit)
        await write_status(self._kubernetes, self._access.collection(MATCH.plural), match, status)

    def _entry(self, identity: str, livekit_name: str, expires: int) -> dict[str, str]:
        video = {
            "roomJoin": True,
            "room": livekit_name,
            "canPublish": True,
            "canSubscribe": True,
            "canPublishData": True,
        }
        return {
            "token": sign(self._access, {"sub": identity, "video": video, "exp": expires}),
            "url": self._access.livekit_url,
            "room": livekit_name,
            "identity": identity,
            "expiresAt": text_of(expires),
        }


class RoomService:
    """LiveKit's RoomService with one token and no SDK."""

    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self._url = f"{access.livekit_http_url}/twirp/livekit.RoomService"
        self._session = session
        token = sign(access, {"exp": int(time.time()) + _SERVICE_TOKEN_SECONDS, "video": {"roomCreate": True}})
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/protobuf"}

    async def call(self, method: str, request: Message) -> bytes:
        """Send one request; return the body of the answer."""
        data = request.SerializeToString()
        async with self._session.post(f"{self._url}/{method}", data=data, headers=self._headers) as response:
            payload = await response.read()
        if response.status != 200:
            raise CallFailed(f"{method}: {response.status}")
        return payload


async def write_status(session: aiohttp.ClientSession, collection: str, found: Body, status: Body) -> None:
    """Merge `status` into the status of this version of the object."""
    metadata = found["metadata"]
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
    await call(session, "PATCH", f"{collection}/{metadata['name']}/status", patch, MERGE)


async def bound_pool(access: Access, redis: Redis) -> Pool:
    """The pool of the benchmark's namespace, ready for claims."""
    pool = Pool(redis, Keys(access.cluster_id, access.namespace), 0, 1)
    return pool.at(await pool.ensure_incarnation())


def _owner(match: Body, *, block_deletion: bool) -> Body:
    metadata = match["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": MATCH.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": block_deletion,
    }


def sign(access: Access, claims: Body) -> str:
    """A token in LiveKit's form, signed with its API key and without any library."""
    claims = {"iss": access.livekit_api_key, "nbf": 0, **claims}
    text = _JWT_HEADER + b"." + base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=")
    signature = hmac.digest(access.livekit_api_secret.encode(), text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
