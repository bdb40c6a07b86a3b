"""Webhooks made by hand: signed like LiveKit's, or wrong in one respect only."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from typing import Any

import jwt
from livekit import api

from sandbox.endpoints import Endpoints


def joined(room: api.Room, identity: str) -> bytes:
    """Return the event that a participant is in the room."""
    return _event("participant_joined", room, identity, state="ACTIVE")


def aborted(room: api.Room, identity: str) -> bytes:
    """Return the event that a participant got no media. LiveKit itself takes a minute to send it."""
    return _event(
        "participant_connection_aborted", room, identity, state="DISCONNECTED", disconnectReason="JOIN_FAILURE"
    )


def _event(name: str, room: api.Room, identity: str, **participant: str) -> bytes:
    event = {
        "event": name,
        "id": f"EV_{uuid.uuid4().hex[:12]}",
        "createdAt": str(int(time.time())),
        "room": {"name": room.name, "sid": room.sid, "metadata": room.metadata},
        "participant": {"identity": identity, "sid": "PA_forged", "joinedAt": str(int(time.time())), **participant},
    }
    return json.dumps(event).encode()


def signature(where: Endpoints, body: bytes, *, secret: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    """Return the Authorization header for `body`. `claims` replace LiveKit's own; None leaves a claim out."""
    now = int(time.time())
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    content = {"iss": where.livekit_api_key, "nbf": now - 5, "exp": now + 300, "sha256": digest} | claims
    content = {name: value for name, value in content.items() if value is not None}
    key = "" if algorithm == "none" else secret or where.livekit_api_secret
    return jwt.encode(content, key, algorithm=algorithm)
