"""What Roomkeeper would write into the status of a Room and of a Match, for the subjects that it is compared with.

The floor (`calls`, `last_calls`) and the kopf operator use it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from livekit.protocol.models import Room as RoomMessage

from benchmarks.access import Access, Body
from controller.api.names import room_name, token_secret_name

TOKEN_SECONDS = 900


def room_status(livekit: RoomMessage) -> Body:
    """Return the status that Roomkeeper would write for a Room that has just been made."""
    now = text_of(time.time())
    return {
        "observedGeneration": 1,
        "phase": "Active",
        "occupancy": "Available",
        "conditions": [
            _condition("Ready", "True", "Provisioned", f"room {livekit.name} is on default", now),
            _condition("Healthy", "True", "AsExpected", "the room is as it should be", now),
            _condition("Degraded", "False", "AllBackendsAnswer", "default answers", now),
            _condition("Finished", "False", "InProgress", "the room is not over", now),
        ],
        "liveKitName": livekit.name,
        "sid": livekit.sid,
        "server": "default",
        "numParticipants": 0,
        "createdAt": now,
    }


def match_status(access: Access, match: Body, livekit: RoomMessage) -> Body:
    """Return the status that Roomkeeper would write for a Match that has just become Ready."""
    now, uid = text_of(time.time()), match["metadata"]["uid"]
    identities = [person["identity"] for person in match["spec"]["participants"]]
    names, room = " and ".join(identities), room_name(uid)
    return {
        "observedGeneration": 1,
        "phase": "Connecting",
        "sessionID": uid,
        "conditions": [
            _condition("Accepted", "True", "UsersClaimed", f"this Match holds {names}", now),
            _condition("RoomReady", "True", "RoomCreated", f"room {livekit.name} is on default", now),
            _condition("TokensIssued", "True", "TokensDelivered", f"the tokens are in secret {room}-tokens", now),
            _condition(
                "Ready", "True", "Provisioned", f"room {room} is on default, and the tokens are as the spec asks", now
            ),
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
        "tokens": {"secretName": token_secret_name(uid), "expiresAt": text_of(time.time() + TOKEN_SECONDS)},
        "participants": [{"identity": identity, "state": "Invited", "since": now} for identity in identities],
        "participantsSummary": ", ".join(identities),
        "connected": "0/2",
        "startedAt": now,
        "readyAt": now,
        "history": [
            {"phase": "Connecting", "time": now, "reason": "Connecting", "message": "participants are joining"}
        ],
    }


def ended_status(match: Body) -> Body:
    """Return the change that Roomkeeper would make to the status of a Match that was skipped and is over."""
    now, who = text_of(time.time()), match["spec"]["participants"][0]["identity"]
    identities = [person["identity"] for person in match["spec"]["participants"]]
    message = f"{who} skipped to the next person"
    return {
        "observedGeneration": match["metadata"]["generation"],
        "phase": "Ended",
        "reason": "Skipped",
        "conditions": [
            _condition("Accepted", "True", "UsersClaimed", "the users were held by this Match", now),
            _condition("RoomReady", "False", "Skipped", "the room is closed", now),
            _condition("TokensIssued", "False", "Skipped", "the tokens are gone", now),
            _condition("Ready", "False", "Skipped", message, now),
            _condition("Connected", "False", "Skipped", message, now),
            _condition("Degraded", "False", "AllBackendsAnswer", "Kubernetes, LiveKit and Redis answer", now),
            _condition("Finished", "True", "Skipped", message, now),
        ],
        "tokens": None,
        "endedAt": now,
        "end": {
            "reason": "Skipped",
            "initiator": who,
            "message": message,
            "outcomes": [{"identity": identity, "state": "Idle"} for identity in identities],
        },
        "history": [
            {"phase": phase, "time": now, "reason": reason, "message": message}
            for phase, reason in (("Connecting", "Connecting"), ("Ended", "Skipped"))
        ],
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


def text_of(seconds: float) -> str:
    """Return a time as Kubernetes writes it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
