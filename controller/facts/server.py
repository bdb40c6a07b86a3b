"""What is known of a LiveKit server, as the rules, the planner and the status need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from controller.api.conditions import ConditionReason
from controller.facts.drain import DrainFacts

CLOCK_LEEWAY_SECONDS: Final = 55.0
"""LiveKit accepts a token that is a minute off."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that a room could be placed on.

    `rooms` counts the Rooms on it, with those that are about to be made; `max_rooms` is 0 where there is no limit.
    `is_noted`: its address is in its status. `is_paused`: its object is, by an annotation. `trouble` is why it cannot
    be used at the moment; empty if it is ready.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    rooms: int = 0
    max_rooms: int = 0
    is_cordoned: bool = False
    is_draining: bool = False
    is_noted: bool = True
    is_paused: bool = False
    trouble: str = ""

    @property
    def is_full(self) -> bool:
        """Whether it has as many rooms as it may have, or more."""
        return 0 < self.max_rooms <= self.rooms


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a server cannot be used, or not with the credentials that it should have: the kind, and a sentence."""

    reason: ConditionReason
    sentence: str


@dataclass(frozen=True, slots=True)
class Health:
    """What a server has shown of itself beside its rooms; None or empty where it is not known.

    `clock_ahead_seconds` is by how much its clock is ahead of the API server's. `auto_create`: it lets a client make a
    room that does not exist.
    """

    latency_ms: int | None = None
    clock_ahead_seconds: float | None = None
    auto_create: bool | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """Observations of one server, without decisions.

    `trouble` is None if it answers and accepts the API key. `rooms` counts our Rooms that are placed on it and not
    over, with those that are about to be made; `standing` of them belong to no Match and were made. `some_rooms` names
    some of them while the object is being deleted. `participants` is what LiveKit counts in rooms with our mark, None
    before the first answer. `url` and `public_url` are where it is asked, empty if it is not asked. `same_url` are
    other servers with the same URL. `calls_left` counts the Matches on a server that is drained; the oldest of them was
    created at `oldest_call_at`, and `paused` of them or of the standing Rooms are paused by an annotation. `unknown` is
    why more of our Rooms may be on it; empty if all are known. `keeps_address`: the installed CRD has the fields of its
    addresses.
    """

    trouble: Trouble | None
    health: Health
    rooms: int
    participants: int | None
    same_url: tuple[str, ...] = ()
    drain: DrainFacts | None = None
    calls_left: int = 0
    oldest_call_at: datetime | None = None
    standing: int = 0
    some_rooms: tuple[str, ...] = ()
    paused: int = 0
    unknown: str = ""
    url: str = ""
    public_url: str = ""
    keeps_address: bool = True
