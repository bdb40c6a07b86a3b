"""The life of one container: it is started, probed, started again after a pause, and ended.

`pod` says when, and reads `state`; the runtime does the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from sandbox.kubelet import runtime
from sandbox.kubelet.errors import CannotStart
from sandbox.kubelet.network import PodAddress
from sandbox.kubelet.probes import Probe
from sandbox.kubelet.runtime import ContainerSpec, Runtime
from sandbox.kubelet.status import ContainerState, Running, Terminated, Waiting

Body = dict[str, Any]

# Kubernetes begins with 10 s and ends with 5 minutes.
_FIRST_BACKOFF_SECONDS: Final = 0.5
_LONGEST_BACKOFF_SECONDS: Final = 5.0
_STABLE_SECONDS: Final = 20.0
_RETRY_SECONDS: Final = 0.5
_MESSAGE_BYTES: Final = 2048


class Container:
    """One container of a Pod."""

    def __init__(
        self,
        body: Body,
        engine: Runtime,
        address: PodAddress,
        prepare: Callable[[Body], Awaitable[ContainerSpec]],
        changed: Callable[[], None],
    ) -> None:
        """`prepare` resolves what the Pod says, again for each start; `changed` is called with every new state."""
        self.body = body
        self.state = ContainerState(body["name"], body["image"])
        self._engine = engine
        self._address = address
        self._prepare = prepare
        self._changed = changed
        self._running: runtime.Running | None = None
        self._ending = asyncio.Event()

    async def run(self, restart_policy: str) -> None:
        """Run it until the policy does not start it again, or until `end`."""
        backoff = _FIRST_BACKOFF_SECONDS
        while not self._ending.is_set():
            began = time.monotonic()
            terminated = await self._run_once()
            if terminated is None:
                continue
            again = restart_policy == "Always" or (restart_policy == "OnFailure" and terminated.exit_code != 0)
            if self._ending.is_set() or not again:
                self._set(now=terminated)
                return
            backoff = _FIRST_BACKOFF_SECONDS if time.monotonic() - began > _STABLE_SECONDS else backoff
            name = self.body["name"]
            waiting = Waiting("CrashLoopBackOff", f"back-off {backoff:g}s restarting failed container={name}")
            self._set(now=waiting, last=terminated, restarts=self.state.restarts + 1)
            await self._pause(backoff)
            backoff = min(_LONGEST_BACKOFF_SECONDS, backoff * 2)
        if not isinstance(self.state.now, Terminated):
            self._set(now=self.state.last or Terminated(137, _now(), _now(), "it had not been started"))

    async def end(self, grace_seconds: float) -> None:
        """Send SIGTERM, and SIGKILL after the grace; `run` returns when the container is gone."""
        self._ending.set()
        if self._running is None:
            return
        if grace_seconds > 0:
            self._running.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._running.wait()
        # It may have ended, and `run` has let go of it.
        if self._running is not None:
            self._running.send(signal.SIGKILL)

    async def _run_once(self) -> Terminated | None:
        """Start it and wait for its end; None if it could not be started, after a pause."""
        try:
            spec = await self._prepare(self.body)
            probes = {
                kind: Probe.read(self.body[f"{kind}Probe"], self.body, self._address)
                for kind in ("startup", "readiness", "liveness")
                if f"{kind}Probe" in self.body
            }
            self._running = await self._engine.start(spec)
        except CannotStart as error:
            self._set(now=Waiting(error.reason, str(error)))
            await self._pause(_RETRY_SECONDS)
            return None
        started_at = _now()
        self._set(now=Running(started_at, started="startup" not in probes, ready=not probes))
        probing = asyncio.create_task(self._probe(probes), name=f"probes of {self.body['name']}")
        try:
            if self._ending.is_set():
                self._running.send(signal.SIGTERM)
            code = await self._running.wait()
        finally:
            probing.cancel()
            await asyncio.wait({probing})
            await self._running.remove()
            self._running = None
        if not probing.cancelled() and (problem := probing.exception()) is not None:
            raise problem
        return Terminated(code, started_at, _now(), self._last_words(spec, code))

    async def _probe(self, probes: dict[str, Probe]) -> None:
        if startup := probes.get("startup"):
            passed = asyncio.Event()

            def started(healthy: bool, _problem: str) -> None:
                if healthy:
                    passed.set()
                else:
                    self._kill()

            looking = asyncio.create_task(startup.follow(started))
            try:
                await passed.wait()
            finally:
                looking.cancel()
                await asyncio.wait({looking})
        self._note(started=True, ready="readiness" not in probes)
        async with asyncio.TaskGroup() as group:
            if readiness := probes.get("readiness"):
                group.create_task(readiness.follow(lambda healthy, _problem: self._note(ready=healthy)))
            if liveness := probes.get("liveness"):
                group.create_task(liveness.follow(lambda healthy, _problem: None if healthy else self._kill()))

    def _kill(self) -> None:
        """As the kubelet ends a container that a probe finds dead."""
        if self._running is not None:
            self._running.send(signal.SIGTERM)

    def _note(self, *, ready: bool, started: bool | None = None) -> None:
        now = self.state.now
        if isinstance(now, Running):
            changed = replace(now, ready=ready, started=now.started if started is None else started)
            if changed != now:
                self._set(now=changed)

    def _set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self._changed()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    def _last_words(self, spec: ContainerSpec, code: int) -> str:
        if code == 0 or self.body.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        return spec.log.read_bytes()[-_MESSAGE_BYTES:].decode(errors="replace")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
