"""Observes one LiveKit server. Nothing is read for it: its poller and the reader of credentials keep what is known.

Neighbors: `loop.reconcile` calls this module before each plan, and `facts.server` defines the result.
"""

from __future__ import annotations

from dataclasses import replace

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.api.names import LIVEKIT_SERVER
from controller.backends.bundle import Backends
from controller.facts.learned import Learned
from controller.facts.server import Health, ServerSeen, Trouble
from controller.rules.drain import drain_of, progress


async def observe_server(server: LiveKitServer, backends: Backends, _learned: Learned) -> ServerSeen:
    """Everything that is known of the server."""
    name = server.metadata.name
    rooms, polled = backends.servers.count(name), backends.servers.get(name)
    drain = drain_of(name, server.spec.drain)
    calls = tuple(backends.calls.on(name)) if drain is not None else ()
    standing = backends.servers.standing(name) if drain is not None else []
    left = progress(calls)
    told = backends.servers.troubles.get(name)
    seen = ServerSeen(
        trouble=told or Trouble(ConditionReason.NOT_ASKED, "the server has not been asked yet"),
        health=Health(),
        rooms=rooms,
        participants=None,
        drain=drain,
        calls_left=left.calls_left,
        oldest_call_at=left.oldest_call_at,
        standing=len(standing),
        some_rooms=tuple(backends.servers.some_on(name)) if server.metadata.deletion_timestamp is not None else (),
        paused=sum(call.is_paused for call in calls) + sum(room.is_paused for room in standing),
        unknown=backends.servers.unknown(),
    )
    if polled is None:
        return seen
    listed = [room for room in polled.view.listed() if room.mark is not None]
    return replace(
        seen,
        trouble=told or polled.trouble,
        health=polled.health,
        url=polled.url,
        public_url=polled.public_url,
        keeps_address=not any(backends.lost_fields.has(LIVEKIT_SERVER, field) for field in ("url", "publicUrl")),
        same_url=tuple(other for other in backends.servers.of_url(polled.url) if other != name),
        participants=sum(room.num_participants for room in listed) if polled.view.was_listed else None,
    )
