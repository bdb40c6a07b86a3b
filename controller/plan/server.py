"""The plan of a LiveKit server. Pure.

Nothing is done to the server itself: rooms on it belong to the keys of their Rooms, and calls to those of their
Matches. Its key comes back for the numbers in its status.
"""

from __future__ import annotations

from controller.api.names import PAUSED
from controller.plan.step import Plan
from controller.rules.server_case import STATUS_EVERY, ServerCase


def plan_server(case: ServerCase) -> Plan:
    """The next step of this server."""
    if case.server.metadata.annotations.get(PAUSED) == "true":
        return Plan(waits_for=f"annotation {PAUSED} to be removed", frozen=True)
    return Plan(deadline=case.now + STATUS_EVERY, waits_for="the next look at its numbers")
