"""The operators of one run: each with a clock in its event loop, some of them one after another, two side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.live.ticks import Ticks
from benchmarks.measure import process_cpu_ms
from benchmarks.operators import program
from sandbox.errors import ProgramError
from sandbox.recipes import bare_environment
from sandbox.stack import Stack

FLAGS = "ROOMKEEPER_LEGACY_FLAGS"
LEASE = "ROOMKEEPER_LEASE_SECONDS"


class Replica:
    """One process of the operator. `ticks` is what it says of itself."""

    def __init__(self, stack: Stack, name: str, settings: Mapping[str, str]) -> None:
        self._deaths: list[ProgramError] = []
        # As on nodes of their own: a successor on the same machine would see at once that its predecessor is dead.
        self.environment = {**bare_environment(), **stack.endpoints.operator_env, "POD_NAME": name, **settings}
        file = Path(stack.directory.path) / f"{name}.ticks"
        self.ticks = Ticks(file)
        entry = ("benchmarks.live.ticking", str(file))
        self._program = program(stack, self.environment, self._deaths.append, name=name, entry=entry)
        self.started_at = 0.0
        """When its process began (monotonic seconds)."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._program.pid

    @property
    def webhook_url(self) -> str:
        """Where it takes LiveKit's webhooks."""
        return f"http://127.0.0.1:{self.environment['ROOMKEEPER_WEBHOOK_PORT']}/livekit/webhook"

    @property
    def metrics_url(self) -> str:
        """Where its metrics are."""
        return f"http://127.0.0.1:{self.environment['ROOMKEEPER_METRICS_PORT']}/metrics"

    def cpu_ms(self) -> float:
        """Its CPU time so far."""
        return process_cpu_ms(self.pid)

    def check(self) -> None:
        """Raise ProgramError if it has ended by itself."""
        if self._deaths:
            raise self._deaths[0]

    async def start(self) -> None:
        """Start it; return when its caches are synced. From then on its turns count."""
        self.ticks.reset()
        self.started_at = time.monotonic()
        await self._program.start()
        self.ticks.wake()

    async def stop(self) -> None:
        """Stop it as a rollout does: it hands its lease over."""
        await self._program.terminate()
        self.check()

    async def kill(self) -> None:
        """Kill it, if it runs: its lease has to expire."""
        if self._program.running:
            await self._program.kill()
