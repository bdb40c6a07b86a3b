"""The case of a Room: one look at it, with each judgement of `rules.room` and `rules.restores` made once. Pure.

`loop.reconcile` makes one case per round; `plan.room` and `status.room` read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from controller.api.room import Room, RoomEndReason
from controller.errors import Backend
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom, Mark
from controller.facts.observation import value_of
from controller.facts.room import RecordFacts, RoomSeen
from controller.rules import restores
from controller.rules import room as rules
from controller.rules.patience import given_up, gives_up_at


@dataclass(frozen=True)
class RoomCase:
    """The desired object, what was seen of it, and the moment for which it is judged."""

    room: Room
    seen: RoomSeen
    now: datetime

    @cached_property
    def livekit_room(self) -> LiveKitRoom | None:
        """The room on LiveKit, where LiveKit was asked and has it."""
        return value_of(self.seen.livekit_room)

    @cached_property
    def record(self) -> RecordFacts | None:
        """The room's record in Redis, where it could be read and is there."""
        return value_of(self.seen.record)

    @cached_property
    def end_reason(self) -> RoomEndReason | None:
        """Why the room should not exist, or None as long as it should."""
        return rules.end_reason(self.room, self.seen, self.now)

    @cached_property
    def given_up(self) -> frozenset[Backend]:
        """The backends for which the deletion of the Room no longer waits."""
        return given_up(self.room.metadata, self.seen.server, self.seen.patience, self.now)

    @cached_property
    def gives_up_at(self) -> datetime | None:
        """When the deletion of the Room will no longer wait for a backend that is silent now."""
        return gives_up_at(self.room.metadata, self.seen.server, self.seen.patience, self.now)

    @cached_property
    def mark(self) -> Mark:
        """Our mark for this Room."""
        return rules.mark_of(self.room, self.seen)

    @cached_property
    def is_foreign(self) -> bool:
        """Whether the room of this name carries the mark of another Room."""
        return rules.is_foreign(self.room, self.seen)

    @cached_property
    def is_revived(self) -> bool:
        """Whether a client has made the room before us."""
        return rules.is_revived(self.room, self.seen)

    @cached_property
    def has_other_metadata(self) -> bool:
        """Whether LiveKit still has the metadata that the Room had before it changed."""
        return rules.has_other_metadata(self.room, self.seen)

    @cached_property
    def is_untold_of_drain(self) -> bool:
        """Whether the participants have to be told that the server is drained, or that it is no longer."""
        return rules.is_untold_of_drain(self.room, self.seen)

    @cached_property
    def is_lost(self) -> bool:
        """Whether LiveKit had the room, and no longer has it."""
        return restores.is_lost(self.room, self.seen)

    @cached_property
    def was_closed_empty(self) -> bool:
        """Whether LiveKit closed an empty room at its own timeout."""
        return rules.was_closed_empty(self.room, self.seen)

    @cached_property
    def strangers(self) -> tuple[LiveKitParticipant, ...]:
        """People who are in the room and not in its allowedIdentities."""
        return rules.strangers(self.room, self.seen)

    @cached_property
    def next_restore_at(self) -> datetime | None:
        """From when on a lost room may be made again; None means at once, or that it is not lost."""
        return restores.next_restore_at(self.room, self.now) if self.is_lost else None

    @cached_property
    def expiry(self) -> datetime | None:
        """When a standing room is closed for its age; None if never."""
        return rules.expiry_of(self.room)
