"""The whole stack: starts its programs in order, watches and stops them; kills and restarts single programs.

    async with Stack(StackOptions(directory=path)) as stack:
        stack.endpoints …
        await stack.kill("operator")
        await stack.start_program("operator")

Programs: etcd, kube-apiserver, kube-controller-manager, redis-server, livekit-server, operator.
Neighbors: `recipes` (what is run), `program` (one child), `files` (what is written for users), `cluster`,
`directory`, `endpoints`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox import recipes
from sandbox.cluster import Cluster, read_manifests
from sandbox.directory import Directory
from sandbox.endpoints import OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, Endpoints
from sandbox.errors import ProgramError
from sandbox.files import describe, write_endpoints, write_kubeconfig
from sandbox.parts import STACK_PROGRAMS, locate
from sandbox.ports import PortLocks
from sandbox.program import Program, Recipe
from sandbox.recipes import Ports, Wiring
from sandbox.source import CRDS, FINALIZER_POLICY, INSTALL

Started = Callable[[str, str, float], None]

_STOP_ORDER = (
    "operator",
    "livekit-server",
    "kube-controller-manager",
    "kube-apiserver",
    "etcd",
    "redis-server",
)
_ATTEMPTS = 3
_TOKEN_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class StackOptions:
    """What to start, and where."""

    directory: Path | None = None
    """None: a new one in the system's temporary directory. It is removed at the end, unless a program died."""
    operator: bool = True
    """False: no operator runs, but `operator.env` is written and its ports are reserved."""
    cluster_id: str = "sandbox"
    operator_settings: Mapping[str, str] = field(default_factory=dict)
    """Added to `operator.env`; they override its values."""
    manifests: tuple[Path, ...] = (CRDS, INSTALL, FINALIZER_POLICY)
    """Files, and directories of files. What would need a kubelet is left out.

    Empty: nothing of Roomkeeper is installed, and `operator.kubeconfig` is not written.
    """
    workloads: bool = False
    """True: kube-controller-manager serves Deployments, Jobs and Services too; `sandbox.kubelet` runs their Pods."""
    audit_log: Path | None = None
    """Where the API server notes what the operator's ServiceAccount asks for; None: nowhere."""


class Stack:
    """One running stack."""

    def __init__(self, options: StackOptions | None = None, on_started: Started | None = None) -> None:
        self.options = options or StackOptions()
        path = self.options.directory or Path(tempfile.mkdtemp(prefix="roomkeeper-sandbox-"))
        self.directory = Directory(path)
        self._on_started = on_started
        self._ports = PortLocks()
        self._programs: dict[str, Program] = {}
        self._cluster: Cluster | None = None
        self._endpoints: Endpoints | None = None
        self._died = asyncio.Event()
        self._deaths: list[ProgramError] = []
        self._stopping = False

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise RuntimeError("the stack is not running")
        return self._endpoints

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if error is None and self._deaths:
            raise self._deaths[0]

    # ---- the stack as a whole

    async def start(self) -> None:
        """Start everything. If that fails or is cancelled, no program is left behind."""
        self.directory.take()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._start_once()
            except ProgramError as failure:
                await self._stop_programs()
                if failure.address_in_use and attempt < _ATTEMPTS:
                    self.directory.clear()
                    continue
                self.directory.release()
                raise
            except BaseException:
                await self.stop()
                raise
            return

    async def stop(self) -> None:
        """Stop everything, the operator first."""
        await self._stop_programs()
        self.directory.release()
        if self.options.directory is None and not self._deaths:
            shutil.rmtree(self.directory.path, ignore_errors=True)

    async def wait_for_death(self) -> ProgramError:
        """Wait until a program ends by itself; returns the error that says how."""
        await self._died.wait()
        # The first death explains the others.
        return self._deaths[0]

    # ---- single programs

    async def kill(self, name: str) -> None:
        """Send SIGKILL, and wait until it has ended."""
        await self._programs[name].kill()

    async def stop_program(self, name: str) -> None:
        """Send SIGTERM, and SIGKILL if it does not end in time."""
        await self._programs[name].stop()

    async def start_program(self, name: str) -> None:
        """Start a stopped or killed one again, with the same ports and files, and wait until it is ready."""
        await self._programs[name].start()

    async def restart(self, name: str) -> None:
        await self.stop_program(name)
        await self.start_program(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal, for instance SIGSTOP or SIGCONT."""
        self._programs[name].send_signal(number)

    def pid(self, name: str) -> int:
        return self._programs[name].pid

    def is_running(self, name: str) -> bool:
        return name in self._programs and self._programs[name].running

    # ---- start

    async def _start_once(self) -> None:
        self._stopping = False
        self._died.clear()
        self._deaths.clear()
        parts = await asyncio.to_thread(lambda: {name: locate(name) for name in STACK_PROGRAMS})
        wiring = Wiring(parts, Ports.take(self._ports), self.directory)
        self._cluster = Cluster(wiring.server, wiring.ca_file, wiring.admin_token)
        starting = asyncio.create_task(self._start_all(wiring, self._cluster))
        dying = asyncio.create_task(self._died.wait())
        try:
            await asyncio.wait({starting, dying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(dying)
            if not starting.done():
                await _cancel(starting)
        if self._deaths:
            # The start failed because of the death; asyncio requires that its exception is read.
            _ = starting.cancelled() or starting.exception()
            raise self._deaths[0]
        starting.result()

    async def _start_all(self, wiring: Wiring, cluster: Cluster) -> None:
        await _all(
            self._start_kubernetes(wiring, cluster),
            self._start(recipes.redis(wiring, self.options.cluster_id)),
            self._start(recipes.livekit(wiring)),
        )

    async def _start_kubernetes(self, wiring: Wiring, cluster: Cluster) -> None:
        await self._start(recipes.etcd(wiring))
        await self._start(recipes.kube_apiserver(wiring, cluster, self.options.audit_log))
        write_kubeconfig(wiring, "kubeconfig", "admin", wiring.admin_token)
        began = time.monotonic()
        await cluster.install(read_manifests(self.options.manifests))
        self._report("crds/ and manifests/", "installed", began)
        await self._write_files(wiring, cluster)
        await _all(
            # It looks for new kinds only every 30 s, so it starts after the CRDs.
            self._start(recipes.kube_controller_manager(wiring, cluster, workloads=self.options.workloads)),
            cluster.wait_for_matches(),
            self._start_operator(recipes.operator(wiring, self.endpoints.operator_env)),
        )

    async def _start_operator(self, recipe: Recipe) -> None:
        if self.options.operator:
            await self._start(recipe)
        else:
            self._prepare(recipe)

    async def _start(self, recipe: Recipe) -> None:
        program = self._prepare(recipe)
        began = time.monotonic()
        await program.start()
        self._report(recipe.name, recipe.where, began)

    def _prepare(self, recipe: Recipe) -> Program:
        program = Program(recipe, self.directory, self._on_death)
        self._programs[recipe.name] = program
        return program

    async def _write_files(self, wiring: Wiring, cluster: Cluster) -> None:
        if self.options.manifests:
            token = await cluster.service_account_token(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT, _TOKEN_SECONDS)
            write_kubeconfig(wiring, "operator.kubeconfig", OPERATOR_ACCOUNT, token)
        self._endpoints = describe(wiring, self.options.cluster_id, self.options.operator_settings)
        write_endpoints(wiring.directory, self._endpoints)

    # ---- stop

    async def _stop_programs(self) -> None:
        self._stopping = True
        for name in _STOP_ORDER:
            if name in self._programs:
                await self._programs[name].stop()
        self._programs.clear()
        if self._cluster is not None:
            await self._cluster.close()
            self._cluster = None
        self._endpoints = None
        self._ports.release()

    def _on_death(self, failure: ProgramError) -> None:
        # While everything is stopped, an end is expected.
        if not self._stopping:
            self._deaths.append(failure)
            self._died.set()

    def _report(self, name: str, where: str, began: float) -> None:
        if self._on_started is not None:
            self._on_started(name, where, time.monotonic() - began)


async def _all(*work: Coroutine[Any, Any, None]) -> None:
    """Run all at the same time; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
