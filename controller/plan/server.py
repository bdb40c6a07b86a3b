"""The plan of a LiveKit server. Pure.

Nothing is done to the server itself: rooms on it belong to the keys of their Rooms, and calls to those of their
Matches. Our finalizer keeps a LiveKitServer until it is known that no room is on it, since nobody could end the calls
there without it. Its key comes back for the numbers in its status.
"""

from __future__ import annotations

from controller.api.names import FINALIZER, LIVEKIT_SERVER, PAUSED
from controller.plan.actions import AddFinalizer, ReleaseFinalizer, Target
from controller.plan.step import Plan, earliest
from controller.rules.drain import ends_calls
from controller.rules.paused import is_paused
from controller.rules.server_case import STATUS_EVERY, ServerCase


def plan_server(case: ServerCase) -> Plan:
    """The next step of this server."""
    if is_paused(case.server.metadata):
        return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)
    metadata = case.server.metadata
    target = Target(LIVEKIT_SERVER, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
    if metadata.deletion_timestamp is None:
        if not case.is_held:
            return Plan((AddFinalizer(target),))
    elif FINALIZER in metadata.finalizers and not case.is_kept:
        return Plan((ReleaseFinalizer(target),))
    drain = case.seen.drain
    ends_at = drain.deadline if drain is not None and not ends_calls(drain, case.now) else None
    return Plan(deadline=earliest(case.now + STATUS_EVERY, ends_at), waits_for="the next look at its numbers")
