"""Everything that was seen of one Match at one moment: the input of its plan and of its status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.api.room import Room
from controller.facts.ledger import Ledger
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.observation import Observation


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the users could not be claimed just now: what the claim script answered, with the holder looked up.

    `code` is UserBusy, UserReserved, UserNotQueued or UserBlocked; `holder` is the name of the Match that has the user
    (its UID where the name is not known), or the name for which the user is reserved.
    """

    code: str
    identity: str
    holder: str = ""
    holder_is_ending: bool = False


@dataclass(frozen=True, slots=True)
class TokensFacts:
    """Tokens that were delivered: for which LiveKit room and until when they are good."""

    livekit_name: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The LiveKit server that the Match's room is on. `url` is what people connect to.

    `answers_since` is the first answer after an outage of the server, or after our own start: windows begin anew there,
    since nobody could come back (or be seen to) before. `silent_since` is the last answer before an outage that still
    goes on.
    """

    name: str
    url: str
    trouble: str = ""
    answers_since: datetime | None = None
    silent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatFacts:
    """Who of the Match has beaten since the claim, and not for `after_seconds` (identities in Redis).

    `decide_alone` tells that their silence ends a call whatever LiveKit says.
    """

    silent: frozenset[str] = frozenset()
    after_seconds: float = 0.0
    decide_alone: bool = False


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """What somebody else did to the records of a call that is up: `strays` are users whose record no longer says that
    this Match holds them; `room_is_buried` that its LiveKit room has a tombstone.
    """

    strays: frozenset[str] = frozenset()
    room_is_buried: bool = False


@dataclass(frozen=True, slots=True)
class MatchSeen:
    """Observations of one Match; no decisions in it.

    `refusal` is None unless a claim was tried in this reconcile; `livekit_name` is empty while there is no Room.
    `is_surplus` tells that it is over, and one of the oldest of more than a namespace keeps.
    """

    ledger: Observation[Ledger]
    refusal: Refusal | None
    room: Observation[Room]
    livekit_room: Observation[LiveKitRoom]
    people: Observation[tuple[LiveKitParticipant, ...]]
    tokens: Observation[TokensFacts]
    livekit_name: str
    server: ServerFacts
    heartbeats: HeartbeatFacts = HeartbeatFacts()
    audit: AuditFacts = AuditFacts()
    is_surplus: bool = False
