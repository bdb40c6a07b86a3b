"""Operators that a test starts itself on a stack without one: to be killed, frozen, doubled, or set up differently."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.ports import PortLocks
from sandbox.recipes import bare_environment
from sandbox.source import ROOT
from tests.support.metrics import Metrics, read_metrics
from tests.support.waiting import eventually, patience

_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Operator:
    """One process of `roomkeeper operator`."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path, program: str = "controller") -> None:
        self.name = name
        self._program = program
        self.environment = dict(environment)
        self.url = f"http://127.0.0.1:{self.environment['ROOMKEEPER_METRICS_PORT']}"
        self.webhook_url = f"http://127.0.0.1:{self.environment['ROOMKEEPER_WEBHOOK_PORT']}/livekit/webhook"
        self.clock_off_seconds = 0.0
        """How wrong the wall clock of its machine is (`tests.support.stepping_clock`)."""
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """The log of this process and of earlier ones with this name."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and wait until it is ready (its caches are synced; it may still wait for the lease)."""
        assert not self.running, f"operator {self.name} is running already"
        lied_to = ("tests.support.stepping_clock", f"{self.clock_off_seconds:g}")
        module = lied_to if self.clock_off_seconds else (self._program,)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launched((sys.executable, "-m", *module, "operator")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=self.environment,
                cwd=ROOT,
                start_new_session=True,
            )
        await eventually(self._is_ready)

    async def kill(self) -> None:
        """Send SIGKILL; return when the process is gone."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit status. SIGKILL follows if the operator stays."""
        assert self._process is not None, f"operator {self.name} was never started"
        self.send(number)
        seconds = patience()
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            told = f"{self.name} is still there {seconds:g} s after {number.name}"
            raise AssertionError(f"{told}:\n{self.log[-3000:]}") from None
        finally:
            self.send(signal.SIGKILL)
            await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process still exists."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def metrics(self) -> Metrics:
        """Read /metrics."""
        return await read_metrics(f"{self.url}/metrics")

    async def leads(self) -> None:
        """The operator holds the lease."""
        assert (await self.metrics())("roomkeeper_leader") == 1, f"{self.name} does not lead:\n{self.log[-2000:]}"

    async def waits(self) -> None:
        """The operator does not hold the lease."""
        assert (await self.metrics())("roomkeeper_leader") == 0, f"{self.name} leads"

    async def _is_ready(self) -> None:
        assert self._process is not None
        assert self.running, f"operator {self.name} ended with {self._process.returncode}:\n{self.log[-3000:]}"
        try:
            async with (
                aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session,
                session.get(f"{self.url}/readyz") as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AssertionError(f"operator {self.name} does not answer ({error})") from None
        assert status == 200, f"operator {self.name} is not ready:\n{self.log[-3000:]}"


class Operators:
    """The operators of one test, each with ports and a log of its own, serving the test's namespace alone."""

    def __init__(self, where: Endpoints, namespace: str, directory: Path) -> None:
        self._where = where
        self._namespace = namespace
        self._directory = directory
        self._ports = PortLocks()
        self._all: list[Operator] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for operator in self._all:
            if operator.running:
                operator.send(signal.SIGCONT)
                await operator.end()
        self._ports.release()

    @property
    def running(self) -> bool:
        """Whether any of them runs."""
        return any(operator.running for operator in self._all)

    @property
    def logs(self) -> str:
        """The logs of all of them."""
        return "".join(operator.log for operator in self._all)

    async def start(self, **settings: str) -> Operator:
        """Start one more and wait until it is ready. The first gets LiveKit's webhooks. `settings`: livekit_url="…"."""
        operator = self.make(**settings)
        await operator.start()
        return operator

    def make(self, program: str = "controller", **settings: str) -> Operator:
        """Make one more without starting it. `program` is the module that runs with the argument `operator`."""
        name = f"operator-{len(self._all) + 1}"
        given = {f"ROOMKEEPER_{key.upper()}": value for key, value in settings.items()}
        ports = {}
        if self._all:
            ports = {f"ROOMKEEPER_{kind}_PORT": str(self._ports.take()) for kind in ("WEBHOOK", "METRICS")}
        own = {"ROOMKEEPER_WATCH_NAMESPACES": self._namespace, **ports}
        environment = {**bare_environment(), **self._where.operator_env, **own, **given}
        operator = Operator(name, environment, self._directory / f"{name}.log", program)
        self._all.append(operator)
        return operator
