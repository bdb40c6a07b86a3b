"""An operator that runs beside the command, to end the calls where no other operator works.

It is `roomkeeper operator` in a process of its own, with the settings of the environment and the caller's kubeconfig.
It serves the same namespaces under the same cluster id, so it finds its predecessor's records in Redis. Neighbor:
`work` starts and ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from controller.errors import RoomkeeperError
from controller.settings import variable
from controller.uninstall.facts import Installation

_END_SECONDS: Final = 60.0
_LAST_LINES: Final = 3


class OwnOperator:
    """One process. `start` and `end` it once."""

    def __init__(self, environment: Mapping[str, str], kubeconfig: Path | None, context: str) -> None:
        self._environment = environment
        self._kubeconfig = kubeconfig
        self._context = context
        self._stack = contextlib.AsyncExitStack()
        self._process: asyncio.subprocess.Process | None = None
        self._log = Path()

    async def start(self, installation: Installation) -> None:
        """Start it for the namespaces of `installation`; its Lease is in the namespace of it."""
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="roomkeeper-uninstall-")))
        self._log = directory / "operator.log"
        log = self._stack.enter_context(self._log.open("wb"))
        # Any ports: neither LiveKit's webhooks nor a scrape can find it.
        own = {
            "namespace": installation.namespace,
            "watch_namespaces": ",".join(installation.watched or ()),
            "lease_name": installation.lease_name,
            "webhook_host": "127.0.0.1",
            "webhook_port": "0",
            "metrics_host": "127.0.0.1",
            "metrics_port": "0",
        }
        environment = {**self._environment, **{variable(field): value for field, value in own.items()}}
        environment |= self._kubeconfigs(directory)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller", "operator"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the command, which then ends it
        )

    def require(self) -> None:
        """Raise RoomkeeperError with the end of its log if it has ended."""
        if self._process is None or self._process.returncode is None:
            return
        raise RoomkeeperError(f"the operator beside it ended ({self._process.returncode}):\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    async def end(self) -> None:
        """End it and wait for that; it gives the Lease back."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await self._stack.aclose()

    def _kubeconfigs(self, directory: Path) -> dict[str, str]:
        """The variable that makes it use our kubeconfig and context: of several files, the first context counts."""
        named = str(self._kubeconfig) if self._kubeconfig is not None else self._environment.get("KUBECONFIG", "")
        if not self._context:
            return {"KUBECONFIG": named} if named else {}
        chosen = directory / "context"
        chosen.write_text(yaml.safe_dump({"current-context": self._context}), encoding="utf-8")
        return {"KUBECONFIG": os.pathsep.join((str(chosen), named or str(Path("~/.kube/config").expanduser())))}


@contextlib.asynccontextmanager
async def own_operator(kubeconfig: Path | None, context: str) -> AsyncIterator[OwnOperator]:
    """An operator that is not started yet, and has ended at the end of the block."""
    operator = OwnOperator(os.environ, kubeconfig, context)
    try:
        yield operator
    finally:
        await operator.end()
