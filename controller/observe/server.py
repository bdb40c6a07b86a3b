"""Observes one LiveKit server. Nothing is read for it: its poller and the reader of credentials keep what is known.

Neighbors: `loop.reconcile` calls this module before each plan, and `facts.server` defines the result.
"""

from __future__ import annotations

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.backends.bundle import Backends
from controller.facts.learned import Learned
from controller.facts.server import Health, ServerSeen, Trouble
from controller.rules.drain import Progress, drain_of, progress


async def observe_server(server: LiveKitServer, backends: Backends, _learned: Learned) -> ServerSeen:
    """Everything that is known of the server."""
    name = server.metadata.name
    rooms, polled = backends.servers.count(name), backends.servers.get(name)
    drain = drain_of(name, server.spec.drain)
    left = progress(backends.calls.on(name)) if drain is not None else Progress(0)
    secret = backends.servers.troubles.get(name)
    if polled is None:
        told = Trouble(ConditionReason.NOT_ASKED, "the server has not been asked yet")
        return ServerSeen(secret or told, Health(), rooms, None)
    listed = [room for room in polled.view.listed() if room.mark is not None]
    return ServerSeen(
        trouble=secret or polled.trouble,
        health=polled.health,
        rooms=rooms,
        same_url=tuple(other for other in backends.servers.of_url(polled.url) if other != name),
        participants=sum(room.num_participants for room in listed) if polled.view.was_listed else None,
        drain=drain,
        calls_left=left.calls_left,
        oldest_call_at=left.oldest_call_at,
    )
