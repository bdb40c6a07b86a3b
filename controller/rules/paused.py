"""Whether an object is paused by its annotation: then nothing is done with it, a deletion included. Pure.

A Room is also paused while its Match is. `plan.match` and `plan.room` freeze such an object, `status.paused` says so.
"""

from __future__ import annotations

from controller.api.match import Match
from controller.api.meta import ObjectMeta
from controller.api.names import PAUSED
from controller.api.room import Room
from controller.facts.room import RoomSeen


def is_paused(metadata: ObjectMeta) -> bool:
    """Whether the object itself has the annotation."""
    return metadata.annotations.get(PAUSED) == "true"


def pause_of_match(match: Match) -> str | None:
    """Why nothing is done with the Match; None if it is not paused."""
    if not is_paused(match.metadata):
        return None
    deletion = "its deletion waits" if match.metadata.deletion_timestamp is not None else "a deletion would wait"
    return f"the annotation {PAUSED} is set: nothing is done with this Match and its Room, and {deletion} too"


def pause_of_room(room: Room, seen: RoomSeen) -> str | None:
    """Why nothing is done with the Room; None if neither it nor its Match is paused."""
    deletion = "its deletion waits" if room.metadata.deletion_timestamp is not None else "a deletion would wait"
    if is_paused(room.metadata):
        return f"the annotation {PAUSED} is set: nothing is done with this Room, and {deletion} too"
    if seen.owner is not None and seen.owner.is_paused:
        told = f"its Match {seen.owner.name} has the annotation {PAUSED}"
        return f"{told}: nothing is done with this Room, and {deletion} too"
    return None
