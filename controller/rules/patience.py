"""How long a deletion waits for a backend that does not answer. Pure.

A finalizer must not hold a namespace for as long as LiveKit or Redis is away. After the limit the object is let go
without that backend. Redis still counts the Match as live then, and LiveKit still has the room with our mark:
`triggers.sweep` finds both when the backend answers again. Neighbors: `plan.match` and `plan.room` ask.
"""

from __future__ import annotations

from datetime import datetime

from controller.api.meta import ObjectMeta
from controller.errors import Backend
from controller.facts.match import Patience, ServerFacts
from controller.facts.silences import LONG_AGO


def given_up(metadata: ObjectMeta, server: ServerFacts, patience: Patience, now: datetime) -> frozenset[Backend]:
    """The backends without which the deletion of the object is finished; empty unless it is being deleted.

    Both the deletion and the silence have to be as old as the limit: a single request that failed proves no outage.
    """
    ends = _ends(metadata, server, patience)
    return frozenset(backend for backend, end in ends.items() if now >= end)


def gives_up_at(metadata: ObjectMeta, server: ServerFacts, patience: Patience, now: datetime) -> datetime | None:
    """When the deletion will next give up a backend that is silent now; None if there is none to give up."""
    ends = _ends(metadata, server, patience)
    return min((end for end in ends.values() if end > now), default=None)


def _ends(metadata: ObjectMeta, server: ServerFacts, patience: Patience) -> dict[Backend, datetime]:
    """Until when the deletion waits for each backend that is silent."""
    deleted_at = metadata.deletion_timestamp
    if deleted_at is None:
        return {}
    silences = {
        Backend.REDIS: patience.redis_silent_since,
        Backend.LIVEKIT: server.silent_since if server.is_configured else LONG_AGO,
    }
    return {
        backend: max(deleted_at, since) + patience.limit for backend, since in silences.items() if since is not None
    }
