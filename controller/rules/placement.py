"""Which LiveKit server a new room is placed on. Pure.

A server has to fit what the spec asks for and must take new rooms. Of those that are ready, two are chosen at random,
and the less loaded of them gets the room: so many rooms that are placed at one moment spread, although each choice sees
the same counts (the "power of two choices", which LiveKit uses for its nodes, too). Neighbors: `backends.servers` has
the candidates and reserves the place.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from controller.api.fields import Placement
from controller.api.names import MATCH, PAUSED, PLACED_ON
from controller.api.room import Room
from controller.facts.server import Candidate
from controller.facts.unreadable import Unreadable

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Placed:
    """The name of the chosen server; or, if that is empty, `why` none can take the room."""

    server: str = ""
    why: str = ""


def server_of(room: Room | Unreadable | None) -> str:
    """The name of the server that a Room is on, or that its room is to be made on; empty if none is chosen yet.

    The Match that makes a Room notes the server in an annotation; what the status says later counts more. Annotations
    of a standing Room belong to its users.
    """
    if room is None:
        return ""
    if isinstance(room, Room) and room.status.server:
        return room.status.server
    metadata = room.metadata
    is_of_match = any(owner.controller and owner.kind == MATCH.kind for owner in metadata.owner_references)
    return metadata.annotations.get(PLACED_ON, "") if is_of_match else ""


def choose(wanted: Placement, candidates: Collection[Candidate], seed: str) -> Placed:
    """The server for a new room. The same `seed` (such as the name of the Room) gives the same choice.

    If only one server fits the spec and takes new rooms, it is chosen even while it does not answer: there is nothing
    to wait for but that server.
    """
    fit = [one for one in candidates if next(_obstacles(wanted, one), None) is None]
    ready = [one for one in fit if not one.trouble]
    if not ready and len(fit) != 1:
        return Placed(why=_refusal(wanted, candidates))
    return Placed(_less_loaded(ready or fit, seed).name)


def _less_loaded(fit: Sequence[Candidate], seed: str) -> Candidate:
    if len(fit) == 1:
        return fit[0]
    ordered = sorted(fit, key=lambda one: one.name)
    first, second = random.Random(seed).sample(ordered, 2)  # noqa: S311 (no secret depends on it)
    return second if _load(second, first) < _load(first, second) else first


def _load(one: Candidate, other: Candidate) -> float:
    """How loaded a server is: by the share of its limit, or by its rooms where one of the two has no limit."""
    return one.rooms / one.max_rooms if one.max_rooms and other.max_rooms else one.rooms


def _obstacles(wanted: Placement, one: Candidate) -> Iterator[str]:
    """Why a server does not fit, whether it answers or not."""
    if wanted.server_name and one.name != wanted.server_name:
        yield f"is not {wanted.server_name}, the serverName of the spec"
    for label, value in sorted(wanted.server_selector.match_labels.items()):
        if one.labels.get(label) != value:
            yield f"does not have the label {label}={value}"
    if not one.is_noted and one.is_paused:
        yield f"is paused, and its address is not in its status (status.url): remove the annotation {PAUSED}"
    elif not one.is_noted:
        yield "is new: its address is not in its status (status.url) yet"
    if one.is_draining:
        yield "is being drained"
    if one.is_cordoned:
        yield "is cordoned"
    if one.is_full:
        yield f"is full ({one.rooms} rooms, maxRooms is {one.max_rooms})"


def _refusal(wanted: Placement, candidates: Collection[Candidate]) -> str:
    """A sentence that names what each server lacks."""
    asked = [one for one in candidates if wanted.server_name in {"", one.name}]
    if not asked and not wanted.server_name:
        return "no LiveKit server can take the room: there is none"
    if not asked:
        known = ", ".join(sorted(one.name for one in candidates)) or "none"
        return f"there is no LiveKit server {wanted.server_name}, the serverName of the spec; known are {known}"
    told = [f"{one.name} {_why(wanted, one)}" for one in sorted(asked, key=lambda one: one.name)]
    more = f"; and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
    return f"no LiveKit server can take the room: {'; '.join(told[:_MOST_NAMED])}{more}"


def _why(wanted: Placement, one: Candidate) -> str:
    return " and ".join(_obstacles(wanted, one)) or f"is not ready ({one.trouble})"
