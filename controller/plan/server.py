"""The plan of a LiveKit server. Pure.

Nothing is done to the server itself: rooms on it belong to the keys of their Rooms, and calls to those of their
Matches. Its key comes back for the numbers in its status.
"""

from __future__ import annotations

from controller.api.names import PAUSED
from controller.plan.step import Plan, earliest
from controller.rules.drain import ends_calls
from controller.rules.server_case import STATUS_EVERY, ServerCase


def plan_server(case: ServerCase) -> Plan:
    """The next step of this server."""
    if case.server.metadata.annotations.get(PAUSED) == "true":
        return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)
    drain = case.seen.drain
    ends_at = drain.deadline if drain is not None and not ends_calls(drain, case.now) else None
    return Plan(deadline=earliest(case.now + STATUS_EVERY, ends_at), waits_for="the next look at its numbers")
