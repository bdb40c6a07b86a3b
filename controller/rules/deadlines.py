"""When the windows of a Match run out: arithmetic on its spec and status. Pure.

`rules.windows` moves a window by the silences of the backends; `rules.timeouts` says what follows from its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from controller.api.match import HistoryEntry, Match, ParticipantState, ParticipantStatus, Timeouts
from controller.api.phases import MatchPhase
from controller.facts.ledger import AloneTime, Ledger
from controller.facts.match import ServerFacts
from controller.facts.time import from_milliseconds
from controller.rules.windows import window_end

_LEAST_AFTER_NOTICE = timedelta(seconds=5)
# LiveKit notices within 21 s that a client has vanished, so an earlier suspicion of the gateway was about something
# else.
_SUSPICION = timedelta(seconds=25)
_GOODBYES = frozenset(
    {
        "CLIENT_INITIATED",
        "PARTICIPANT_REMOVED",
        "USER_UNAVAILABLE",
        "USER_REJECTED",
        "SIP_TRUNK_FAILURE",
        "AGENT_ERROR",
    }
)
# No participant did this. While the Match goes on its room is made again, so there is a place to come back to.
_WENT_WITH_THE_ROOM = frozenset({"ROOM_DELETED", "ROOM_CLOSED"})


def ready_deadline(match: Match) -> datetime:
    """Until when the Match must be Ready."""
    return _created(match) + timedelta(seconds=match.spec.timeouts.ready_seconds)


def connect_deadline(match: Match, server: ServerFacts) -> datetime | None:
    """Until when both must be in the room; None before Ready, and after both were in."""
    if match.status.ready_at is None or match.status.connected_at is not None:
        return None
    window = timedelta(seconds=match.spec.timeouts.connect_seconds)
    return window_end(match.status.ready_at, window, server.silences)


def duration_deadline(match: Match) -> datetime | None:
    """Until when the call may last; None without a limit, and before both were in the room."""
    limit_seconds = match.spec.timeouts.max_duration_seconds
    if match.status.connected_at is None or limit_seconds == 0:
        return None
    return match.status.connected_at + timedelta(seconds=limit_seconds)


def return_deadline(
    timeouts: Timeouts,
    person: ParticipantStatus,
    noticed: datetime | None,
    server: ServerFacts,
    suspected: datetime | None = None,
) -> datetime | None:
    """Until when a participant who dropped out may come back; None for one who did not.

    The window counts from the time of the evidence, or from when the gateway `suspected` it, and stays open for at
    least a few seconds after the operator `noticed`.
    """
    if person.state is not ParticipantState.RECONNECTING:
        return None
    seconds = timeouts.leave_seconds if said_goodbye(person.detail) else timeouts.reconnect_seconds
    window, lost_at = timedelta(seconds=seconds), person.since
    if suspected is not None and lost_at - _SUSPICION <= suspected < lost_at:
        lost_at = suspected
    deadline = window_end(lost_at, window, server.silences)
    return deadline if noticed is None else max(deadline, noticed + min(window, _LEAST_AFTER_NOTICE))


def alone_deadline(match: Match, alone: AloneTime, server: ServerFacts) -> datetime | None:
    """Until when one participant may be alone, less the time they were alone before; None while none is alone."""
    if alone.since_ms is None or match.status.connected_at is None:
        return None
    window = timedelta(seconds=match.spec.timeouts.solo_seconds)
    left = max(timedelta(0), window - timedelta(milliseconds=alone.before_ms))
    return window_end(from_milliseconds(alone.since_ms), left, server.silences)


def noticed_at(history: Sequence[HistoryEntry]) -> datetime | None:
    """When the operator last noticed that a participant had dropped out."""
    return next((step.time for step in reversed(history) if step.phase is MatchPhase.RECONNECTING), None)


def return_deadlines(match: Match, ledger: Ledger | None, server: ServerFacts) -> Mapping[str, datetime]:
    """The deadlines of the participants who dropped out, by identity, as the status has it."""
    status = match.status
    return windows(match.spec.timeouts, status.participants, noticed_at(status.history), ledger, server)


def windows(
    timeouts: Timeouts,
    people: Iterable[ParticipantStatus],
    noticed: datetime | None,
    ledger: Ledger | None,
    server: ServerFacts,
) -> Mapping[str, datetime]:
    """The deadlines of those of `people` who dropped out, by identity."""
    suspected = ledger.suspected_at_ms if ledger is not None else {}
    found = {
        person.identity: return_deadline(
            timeouts,
            person,
            noticed,
            server,
            from_milliseconds(suspected[person.identity]) if person.identity in suspected else None,
        )
        for person in people
    }
    return {identity: deadline for identity, deadline in found.items() if deadline is not None}


def said_goodbye(reason: str | None) -> bool:
    """Whether a LiveKit DisconnectReason means that the client left on purpose, or was removed; else it was lost."""
    return reason in _GOODBYES


def was_removed(reason: str | None) -> bool:
    """Whether a LiveKit DisconnectReason means that the participant was removed from the room."""
    return reason == "PARTICIPANT_REMOVED"


def went_with_the_room(reason: str | None) -> bool:
    """Whether a LiveKit DisconnectReason means that the room was closed while the participant was in it."""
    return reason in _WENT_WITH_THE_ROOM


def _created(match: Match) -> datetime:
    created = match.metadata.creation_timestamp
    assert created is not None, "the API server sets creationTimestamp on every object"
    return created
