"""One uninstallation from the first look to the last step: look, plan, ask, work.

`cli.uninstall` gives it the options, the terminal and the exit status.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from controller.clients.kubernetes import KubernetesClient
from controller.clock import Clock
from controller.facts.observation import Absent, value_of
from controller.uninstall.facts import Found, Installation, Life, Pulse, pulse
from controller.uninstall.plan import Plan, Wishes, plan
from controller.uninstall.survey import Survey
from controller.uninstall.words import describe
from controller.uninstall.work import Beside, Told, Work

_LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, what it was made from, and both in words."""

    plan: Plan
    found: Found
    text: str


class Uninstallation:
    """One run. `told` gets the progress."""

    def __init__(
        self, client: KubernetesClient, clock: Clock, told: Told, timeout_seconds: float, beside: Beside
    ) -> None:
        self._client = client
        self._survey = Survey(client, clock)
        self._told = told
        self._timeout_seconds = timeout_seconds
        self._beside = beside

    async def plan(self, installation: Installation, wishes: Wishes) -> Planned:
        """Look until it is certain whether the operator works, and plan. Changes nothing."""
        started = time.monotonic()
        first: Found | None = None
        while True:
            found = await self._survey.look(installation, whole_cluster=not wishes.is_hook)
            first = first or found
            now = pulse(found)
            patience = min(found.patience_seconds, self._timeout_seconds / 2)
            doubt = _doubt(now, found, first)
            if not doubt or not found.known_objects or time.monotonic() - started >= patience:
                break
            self._told.running("operator", f"{now.why}; {doubt}")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        made = plan(found, wishes)
        return Planned(made, found, describe(made, found))

    async def carry_out(self, planned: Planned) -> None:
        """All steps. Raises TimedOut, OperatorGone, or BackendError."""
        deadline = time.monotonic() + self._timeout_seconds
        installation = planned.found.installation
        work = Work(self._client, self._survey, installation, self._told, deadline, self._beside)
        await work.carry_out(planned.plan, planned.found)


def _doubt(now: Pulse, found: Found, first: Found) -> str:
    """What a second look may tell, after the `first` one; empty if it is certain whether the operator works."""
    if now.life is Life.SILENT:
        # A replica that takes the lease over is silent for a moment.
        return "waiting whether it comes back"
    lease, before = value_of(found.lease), value_of(first.lease)
    if now.life is Life.WORKS and isinstance(found.deployment, Absent) and lease is not None and before is not None:
        # The Lease of a process that was killed lasts for some seconds, and there is nothing that starts it again.
        return "" if lease.renewed_at != before.renewed_at else "waiting whether it is renewed"
    return ""
