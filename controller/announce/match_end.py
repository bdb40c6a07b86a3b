"""The end of a Match as one line of the log: all names by which one may look for the call, and how it ended.

`announce.announcer` writes it once per Match. So a search for a user, a session or a LiveKit room finds the call.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog

from controller.api.event_reasons import WARNED_ENDINGS
from controller.api.match import Match, MatchStatus
from controller.api.names import TRACEPARENT
from controller.telemetry import tracing

log = structlog.get_logger(__name__)


def log_end(match: Match, status: MatchStatus, *, reason: str, message: str, ended_at: datetime) -> None:
    """Write the line. Where both met, `duration_seconds` is the length of the call."""
    log.info("match is over", **told_of_end(match, status, reason=reason, message=message, ended_at=ended_at))


def told_of_end(match: Match, status: MatchStatus, *, reason: str, message: str, ended_at: datetime) -> dict[str, Any]:
    """What the line says, in its order."""
    met, room, end = status.connected_at, status.room, status.end
    return {
        "namespace": match.metadata.namespace,
        "name": match.metadata.name,
        "uid": match.metadata.uid,
        "session": status.session_id or match.spec.session_id or match.metadata.uid,
        "livekit_room": (room.livekit_name or "") if room is not None else "",
        "server": (room.server or "") if room is not None else "",
        "people": list(match.spec.identities),
        "phase": str(status.phase or ""),
        "reason": reason,
        "initiator": (end.initiator or "") if end is not None else "",
        "message": message,
        "duration_seconds": round((ended_at - met).total_seconds(), 3) if met is not None else None,
    }


def trace_end(match: Match, status: MatchStatus, *, reason: str, ended_at: datetime) -> None:
    """Send the span of the whole Match, if traces are made. Users are not in it: traces are kept by other people."""
    if not tracing.is_on():
        return
    metadata, room = match.metadata, status.room
    attributes = {
        "k8s.namespace.name": metadata.namespace,
        "roomkeeper.name": metadata.name,
        "roomkeeper.session": status.session_id or match.spec.session_id or metadata.uid,
        "roomkeeper.reason": reason,
        "roomkeeper.livekit.room": (room.livekit_name or "") if room is not None else "",
        "roomkeeper.livekit.server": (room.server or "") if room is not None else "",
    }
    steps = [(str(step.phase), step.time) for step in status.history]
    began_at = metadata.creation_timestamp or min((at for _, at in steps), default=ended_at)
    tracing.match_over(
        tracing.MatchSpan(
            uid=metadata.uid,
            began_at=began_at,
            ended_at=ended_at,
            attributes={name: value for name, value in attributes.items() if value},
            steps=steps,
            error=reason if reason in WARNED_ENDINGS else "",
            link=tracing.link_of(metadata.annotations.get(TRACEPARENT, "")),
        )
    )
