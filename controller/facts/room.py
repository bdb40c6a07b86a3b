"""Everything that was seen of one Room at one moment: the input of its plan and of its status."""

from __future__ import annotations

from dataclasses import dataclass

from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.match import ServerFacts
from controller.facts.observation import Observation


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """The Match that controls a Room."""

    uid: str
    name: str
    identities: tuple[str, ...]
    session_id: str


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """The room's record in Redis."""

    status: str
    last_updated_ms: int


@dataclass(frozen=True, slots=True)
class RoomSeen:
    """Observations of one Room; no decisions in it.

    `is_certainly_gone` tells that two different reads agree on the room's absence: for a deletion one is not enough.
    """

    livekit_name: str
    livekit_room: Observation[LiveKitRoom]
    people: Observation[tuple[LiveKitParticipant, ...]]
    record: Observation[RecordFacts]
    owner: OwnerFacts | None
    cluster_id: str
    server: ServerFacts
    is_certainly_gone: bool
