"""What a planner returns: actions without order, and the moment at which to reconcile again if nothing happens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from controller.errors import Backend
from controller.plan.actions import AnyAction


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step towards the desired state.

    The actions are independent of each other and run side by side; what depends on their effects is planned after the
    effects were observed. `waits_for` says in a few words what an empty or unfinished plan waits for. `frozen`: the
    object is paused, and its status only says so. `blocked_by` is the backend that has to be read and could not be: the
    key comes back after a backoff.
    """

    actions: tuple[AnyAction, ...] = ()
    deadline: datetime | None = None
    waits_for: str = ""
    frozen: bool = False
    blocked_by: Backend | None = None

    def by(self, moment: datetime | None) -> Plan:
        """The same plan, with a reconcile at `moment` at the latest, if there is one."""
        return self if moment is None else replace(self, deadline=earliest(self.deadline, moment))


def earliest(*moments: datetime | None) -> datetime | None:
    """The earliest of the moments that are given."""
    return min((moment for moment in moments if moment is not None), default=None)
