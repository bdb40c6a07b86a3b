"""The calls that no way of making a Match Ready can do without, each in its leanest form.

Claim, Room, LiveKit room, Room status, Secret, Match status: `floor` and `kopf_operator` make them one after another,
with the same bodies that Roomkeeper sends. The claim is the operator's own script, sent by its own client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from livekit.protocol.models import Room as RoomMessage
from livekit.protocol.room import CreateRoomRequest

from benchmarks.access import Access, Body, CallFailed, call
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
from controller.clients.redis.replies import ClaimOk
from controller.clients.redis.requests import Claimant, ClaimRequest

_MERGE = "application/merge-patch+json"
_JWT_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
_SERVICE_TOKEN_SECONDS = 3600
_TOKEN_SECONDS = 900


class UnavoidableCalls:
    """One method per call; the sessions and the pool (`bound_pool`) are the caller's."""

    def __init__(
        self, access: Access, kubernetes: aiohttp.ClientSession, livekit: aiohttp.ClientSession, pool: Pool
    ) -> None:
        self._access = access
        self._kubernetes = kubernetes
        self._livekit = livekit
        self._pool = pool
        grant = {"video": {"roomCreate": True}}
        token = _sign(access, "", grant, int(time.time()) + _SERVICE_TOKEN_SECONDS)
        self._livekit_headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/protobuf"}

    async def claim(self, match: Body) -> None:
        """Take both users."""
        metadata = match["metadata"]
        users = tuple(Claimant(person["identity"]) for person in match["spec"]["participants"])
        request = ClaimRequest(metadata["uid"], metadata["name"], metadata["uid"], users)
        reply = await self._pool.claim(request, now_ms=int(time.time() * 1000))
        if not isinstance(reply, ClaimOk):
            raise CallFailed(f"claim of {metadata['name']}: {reply}")

    async def create_room(self, match: Body) -> Body:
        """The Room that the Match owns; the server's answer."""
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
        """The room on LiveKit; what it answers."""
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
        url = f"{access.livekit_http_url}/twirp/livekit.RoomService/CreateRoom"
        async with self._livekit.post(url, data=request.SerializeToString(), headers=self._livekit_headers) as response:
            payload = await response.read()
        if response.status != 200:
            raise CallFailed(f"CreateRoom: {response.status}")
        return RoomMessage.FromString(payload)

    async def write_room_status(self, room: Body, livekit: RoomMessage) -> None:
        """The Room is there."""
        await self._write_status(ROOM.plural, room, room_status(livekit))

    async def create_secret(self, match: Body, livekit: RoomMessage) -> None:
        """The two tokens."""
        metadata = match["metadata"]
        expires = int(time.time()) + _TOKEN_SECONDS
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
        """The Match is Ready."""
        await self._write_status(MATCH.plural, match, match_status(self._access, match, livekit))

    def _entry(self, identity: str, livekit_name: str, expires: int) -> dict[str, str]:
        video = {
            "roomJoin": True,
            "room": livekit_name,
            "canPublish": True,
            "canSubscribe": True,
            "canPublishData": True,
        }
        return {
            "token": _sign(self._access, identity, {"video": video}, expires),
            "url": self._access.livekit_url,
            "room": livekit_name,
            "identity": identity,
            "expiresAt": _text(expires),
        }

    async def _write_status(self, plural: str, found: Body, status: Body) -> None:
        metadata = found["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        url = f"{self._access.collection(plural)}/{metadata['name']}/status"
        await call(self._kubernetes, "PATCH", url, patch, _MERGE)


async def bound_pool(access: Access, redis: Redis) -> Pool:
    """The pool of the benchmark's namespace, ready for claims."""
    pool = Pool(redis, Keys(access.cluster_id, access.namespace), 0, 1)
    return pool.at(await pool.ensure_incarnation())


def room_status(livekit: RoomMessage) -> Body:
    """What Roomkeeper would write of a Room that has just been made."""
    now = _text(time.time())
    return {
        "observedGeneration": 1,
        "phase": "Active",
        "occupancy": "Available",
        "conditions": [
            _condition("Ready", "True", "RoomCreated", f"room {livekit.name} is on default", now),
            _condition("Healthy", "True", "AsExpected", "the room is as it should be", now),
            _condition("Degraded", "False", "LiveKitAnswers", "default answers", now),
            _condition("Finished", "False", "InProgress", "the room is not over", now),
        ],
        "liveKitName": livekit.name,
        "sid": livekit.sid,
        "server": "default",
        "numParticipants": 0,
        "createdAt": now,
    }


def match_status(access: Access, match: Body, livekit: RoomMessage) -> Body:
    """What Roomkeeper would write of a Match that has just become Ready."""
    now, uid = _text(time.time()), match["metadata"]["uid"]
    identities = [person["identity"] for person in match["spec"]["participants"]]
    names, room = " and ".join(identities), room_name(uid)
    return {
        "observedGeneration": 1,
        "phase": "Connecting",
        "sessionID": uid,
        "conditions": [
            _condition("Accepted", "True", "UsersClaimed", f"{names} are held by this Match", now),
            _condition("RoomReady", "True", "RoomCreated", f"room {livekit.name} is on default", now),
            _condition("TokensIssued", "True", "TokensDelivered", f"tokens are in secret {room}-tokens", now),
            _condition("Ready", "True", "TokensDelivered", f"room {room} on default, tokens as asked", now),
            _condition("Connected", "False", "WaitingForPeople", f"waiting for {names}", now),
            _condition("Degraded", "False", "AllBackendsAnswer", "Kubernetes, LiveKit and Redis answer", now),
            _condition("Finished", "False", "InProgress", "the Match is not over", now),
        ],
        "room": {
            "name": room,
            "liveKitName": livekit.name,
            "sid": livekit.sid,
            "server": "default",
            "url": access.livekit_url,
        },
        "tokens": {"secretName": token_secret_name(uid), "expiresAt": _text(time.time() + _TOKEN_SECONDS)},
        "participants": [{"identity": identity, "state": "Invited", "since": now} for identity in identities],
        "participantsSummary": ", ".join(identities),
        "connected": "0/2",
        "startedAt": now,
        "readyAt": now,
        "history": [{"phase": "Connecting", "time": now, "reason": "Connecting", "message": "people are joining"}],
    }


def _condition(type_: str, status: str, reason: str, message: str, now: str) -> Body:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
        "observedGeneration": 1,
    }


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


def _sign(access: Access, identity: str, grants: dict[str, Any], expires: int) -> str:
    """A token of LiveKit, signed without any library."""
    claims = {"iss": access.livekit_api_key, "sub": identity, "nbf": 0, "exp": expires, **grants}
    text = _JWT_HEADER + b"." + base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=")
    signature = hmac.digest(access.livekit_api_secret.encode(), text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def _text(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
