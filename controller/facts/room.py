"""Everything that was seen of one Room at one moment: `observe.room` makes it, plan and status are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from controller.facts.livekit import Ghost, LiveKitParticipant, LiveKitRoom
from controller.facts.match import Patience, ServerFacts
from controller.facts.observation import Observation


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """The Match that controls a Room; `is_gone` once the API server has said that there is no such Match.

    `is_paused`: the annotation freezes the Match, and its Room with it.
    """

    uid: str
    name: str
    identities: tuple[str, ...]
    session_id: str
    is_gone: bool = False
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """The room's record in Redis."""

    status: str
    last_updated_ms: int


@dataclass(frozen=True, slots=True)
class RoomSeen:
    """Observations of one Room, without decisions.

    `is_certainly_gone`: two different reads agree that the room is absent; one is not enough for a deletion.
    `sid_since` is when its sid was first seen: for a room that we made, the moment at which we made it.
    `is_miscounted`: LiveKit's count and its list of people have disagreed for longer than the count usually lags.
    `ghosts` are people whom LiveKit lists and who are gone; `people` has none of them. `drain_turn` is since when it is
    the turn of a standing Room to end, because its server is drained.
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
    patience: Patience = field(default_factory=Patience)
    ghosts: tuple[Ghost, ...] = ()
    drain_turn: datetime | None = None
