"""Everything that was seen of one Room at one moment: the input of its plan and of its status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.match import ServerFacts
from controller.facts.observation import Observation


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """The Match that controls a Room; `is_gone` once the API server has said that there is no such Match."""

    uid: str
    name: str
    identities: tuple[str, ...]
    session_id: str
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """The room's record in Redis."""

    status: str
    last_updated_ms: int


@dataclass(frozen=True, slots=True)
class RoomSeen:
    """Observations of one Room; no decisions in it.

    `is_certainly_gone` tells that two different reads agree on the room's absence: for a deletion one is not enough.
    `sid_since` is when its sid was first seen: the moment at which it was made, if it was made (again) by us.
    `is_miscounted` tells that LiveKit's count and its list of people have disagreed for longer than the count lags.
    """

    livekit_name: str
    livekit_room: Observation[LiveKitRoom]
    people: Observation[tuple[LiveKitParticipant, ...]]
    record: Observation[RecordFacts]
    owner: OwnerFacts | None
    cluster_id: str
    server: ServerFacts
    is_certainly_gone: bool
    is_miscounted: bool = False
    sid_since: datetime | None = None
