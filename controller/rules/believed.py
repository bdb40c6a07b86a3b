"""What of a status is believed. A status can be edited by hand, and decisions hang on the moments in it. Pure.

A moment far in the future would keep a window open for years, so it counts as of now. A moment that is gone is read
from the history, which has it too; without that, a window that is over would begin again. What is corrected here, the
next status says. All else in a status is either computed from what is seen, and so corrected by itself, or believed:
`end` ends a Match, and the `reason` of a Room closes it. Neighbors: `loop.recipes` names these functions per kind,
`loop.reconcile` reads every object through them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from controller.api.match import Match, MatchStatus, ParticipantState
from controller.api.phases import MatchPhase
from controller.api.room import Room

M = TypeVar("M", Match, Room)

_AHEAD: Final = timedelta(minutes=15)
"""By how much a moment may lie in the future: the clocks of Kubernetes and of LiveKit can be apart."""

_MET: Final = frozenset({MatchPhase.ACTIVE, MatchPhase.RECONNECTING})
_READY: Final = _MET | {MatchPhase.CONNECTING}
_NOT_IN: Final = frozenset({ParticipantState.INVITED, ParticipantState.JOINING})
_STARTED: Final = _READY | {MatchPhase.CREATING}


def believed_match(match: Match, now: datetime) -> Match:
    """The Match, with the moments of its status that can be true."""
    status, latest = match.status, now + _AHEAD
    changes: dict[str, Any] = {}
    for name, phases in (("started_at", _STARTED), ("ready_at", _READY), ("connected_at", _MET), ("ended_at", ())):
        known: datetime | None = getattr(status, name)
        moment = _entered(status, phases) if known is None else known
        if moment is not None and moment > latest:
            moment = now
        if moment != known:
            changes[name] = moment
    if status.connected_at is not None and _have_never_met(status):
        changes["connected_at"] = None
    if any(entry.time > latest for entry in status.history):
        changes["history"] = tuple(
            entry.model_copy(update={"time": now}) if entry.time > latest else entry for entry in status.history
        )
    if any(person.since > latest for person in status.participants):
        changes["participants"] = tuple(
            person.model_copy(update={"since": now}) if person.since > latest else person
            for person in status.participants
        )
    # No token lives for longer than the spec says: these times are not of our tokens.
    tokens = status.tokens
    if tokens is not None and tokens.expires_at > latest + timedelta(seconds=match.spec.tokens.ttl_seconds):
        changes["tokens"] = None
    return _with_status(match, changes)


def believed_room(room: Room, now: datetime) -> Room:
    """The Room, with the moments of its status that can be true."""
    status, latest = room.status, now + _AHEAD
    changes: dict[str, Any] = {
        name: now
        for name in ("empty_since", "created_at", "terminated_at", "lost_at")
        if (moment := getattr(status, name)) is not None and moment > latest
    }
    if any(moment > latest for moment in status.restored_at):
        changes["restored_at"] = tuple(min(moment, now) for moment in status.restored_at)
    return _with_status(room, changes)


def _have_never_met(status: MatchStatus) -> bool:
    """Whether a participant has never been in the room, and the history knows of no call either.

    No window would end such a call: the one to connect is over, and none of them has dropped out.
    """
    never = (one for one in status.participants if one.connected_at is None and one.state in _NOT_IN)
    return _entered(status, _MET) is None and any(never)


def _entered(status: MatchStatus, phases: Collection[MatchPhase]) -> datetime | None:
    """When the Match entered the first of these phases, by its history."""
    return next((entry.time for entry in status.history if entry.phase in phases), None)


def _with_status(found: M, changes: dict[str, Any]) -> M:
    if not changes:
        return found
    return found.model_copy(update={"status": found.status.model_copy(update=changes)})
