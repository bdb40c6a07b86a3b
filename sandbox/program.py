"""One supervised program: it is started, awaited, stopped and killed, and an unexpected end is reported.

`recipes` says what to run; `stack` puts the programs together.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.directory import Directory
from sandbox.errors import ProgramError
from sandbox.launch import launched
from sandbox.logs import tail

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Recipe:
    """What to run, how to see that it is ready, and how long it may take to end.

    `why_not` says what the last look saw, where that is known.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    where: str
    environment: Mapping[str, str]
    directory: Path
    ready_timeout_seconds: float = 60.0
    grace_seconds: float = 0.2
    why_not: Callable[[], str] = str


class Program:
    """A child process in a session of its own: a terminal's Ctrl-C reaches only the sandbox."""

    def __init__(self, recipe: Recipe, directory: Directory, on_death: Callable[[ProgramError], None]) -> None:
        self.recipe = recipe
        self._directory = directory
        self._on_death = on_death
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._expected_to_end = False
        self._was_ready = False

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    async def start(self) -> float:
        """Start it and wait until it is ready; returns the seconds that this took. Raises ProgramError."""
        began = time.monotonic()
        await self.launch()
        await self.wait_ready()
        return time.monotonic() - began

    async def launch(self) -> None:
        """Start it and return at once."""
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self._expected_to_end = False
        self._was_ready = False
        with self._directory.log(self.name).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launched(self.recipe.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(self.recipe.environment),
                cwd=self.recipe.directory,
                start_new_session=True,
            )
        self._directory.note_pid(self.name, self._process.pid)
        self._watch = asyncio.create_task(self._notice_end(self._process), name=f"watch {self.name}")

    async def wait_ready(self) -> None:
        """Wait until it is ready. Raises ProgramError if it ends (with any status) or takes too long."""
        deadline = time.monotonic() + self.recipe.ready_timeout_seconds
        while self.running:
            if await self.recipe.ready():
                self._was_ready = True
                return
            if time.monotonic() > deadline:
                seconds, why = self.recipe.ready_timeout_seconds, self.recipe.why_not()
                raise self._failure(f"was not ready after {seconds:.0f} s{why and f': {why}'}")
            await asyncio.sleep(_POLL_SECONDS)
        raise self._death()

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after its grace period."""
        self.send_signal(signal.SIGTERM)
        await self._end(self.recipe.grace_seconds)

    async def terminate(self) -> None:
        """Send SIGTERM, and wait until it has ended by itself, for as long as that takes."""
        self.send_signal(signal.SIGTERM)
        if self._watch is not None:
            await asyncio.wait({self._watch})

    async def kill(self) -> None:
        """Send SIGKILL, and wait until it has ended and its ports are free."""
        await self._end(0.0)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children; SIGSTOP and SIGCONT freeze and thaw it."""
        if number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            self._expected_to_end = True
        if self.running:
            # It may end between the check and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def _end(self, grace_seconds: float) -> None:
        if self._watch is None:
            return
        if grace_seconds > 0:
            await asyncio.wait({self._watch}, timeout=grace_seconds)
        self.send_signal(signal.SIGKILL)
        await asyncio.wait({self._watch})

    async def _notice_end(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._directory.forget_pid(self.name)
        if not self._expected_to_end:
            self._on_death(self._death())

    def _death(self) -> ProgramError:
        what = "ended by itself" if self._was_ready else "ended before it was ready"
        return self._failure(f"{what} ({self._how_it_ended()})")

    def _how_it_ended(self) -> str:
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def _failure(self, what: str) -> ProgramError:
        return ProgramError(self.name, what, tail(self._directory.log(self.name)))
