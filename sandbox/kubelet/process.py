"""Runs containers as plain processes of this machine: no root, no container engine.

An image is an environment that `sandbox.image.install` has made from the Dockerfile, so the program and its packages
are those of the image. What a container would see by its mounts is told otherwise: the path of a mount is replaced in
the command and in the values of variables, and the ServiceAccount's directory becomes a kubeconfig. The user, the file
system and the kernel's limits are this process's own; `runc` has those.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sandbox.endpoints import kubeconfig_text
from sandbox.image import dockerfile
from sandbox.kubelet.errors import CannotStart, ImageMissing
from sandbox.kubelet.network import IN_POD
from sandbox.kubelet.runtime import ContainerSpec, Image, Mount
from sandbox.launch import launched

_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_INSTALLED: Final = "/opt/roomkeeper"


class ProcessRuntime:
    """Starts processes. `environments`: the reference of an image → the installed `/opt/roomkeeper` of it."""

    def __init__(self, environments: Mapping[str, Path]) -> None:
        self._environments = dict(environments)

    @property
    def finds_api_server_by_name(self) -> bool:
        """No: its programs have a kubeconfig."""
        return False

    def image(self, reference: str) -> Image:
        """What the Dockerfile says of the image. Raises ImageMissing."""
        self._environment(reference)
        return read_image()

    async def start(self, spec: ContainerSpec) -> Process:
        """Start the process and return at once."""
        translated = _Translation((*spec.mounts, Mount(_INSTALLED, self._environment(spec.image), True)))
        variables = {name: translated(value) for name, value in spec.environment.items()}
        if account := next((mount.source for mount in spec.mounts if mount.path == _ACCOUNT), None):
            variables["KUBECONFIG"] = str(_kubeconfig(account, spec))
        # `in_pod` takes these two out again.
        variables |= {"PYTHONPATH": str(IN_POD), "SANDBOX_NETWORK": str(spec.network_file)}
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with spec.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *launched([translated(word) for word in spec.command]),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    env=variables,
                    cwd=spec.network_file.parent,
                    start_new_session=True,
                )
        except OSError as error:
            raise CannotStart(f"{spec.command[0]}: {error.strerror}") from error
        return Process(process)

    def _environment(self, reference: str) -> Path:
        if reference not in self._environments:
            known = ", ".join(self._environments) or "none"
            raise ImageMissing(f'failed to pull image "{reference}": not found; the sandbox has {known}')
        return self._environments[reference]


class Process:
    """One process in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def wait(self) -> int:
        """The exit status, as a container runtime reports it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def remove(self) -> None:
        """End it."""
        self.send(signal.SIGKILL)
        await self._process.wait()


def read_image() -> Image:
    """What the last stage of the Dockerfile says."""
    stage = dockerfile.read().stage("")
    user, _, group = stage.all("USER")[0].text.partition(":")
    return Image(
        entry_point=tuple(dockerfile.exec_form(stage.all("ENTRYPOINT")[0])),
        arguments=tuple(dockerfile.exec_form(stage.all("CMD")[0])),
        environment=stage.environment(),
        working_directory="/",
        user=int(user),
        group=int(group),
    )


class _Translation:
    """Paths of a container, replaced by those of this machine wherever they stand in a text."""

    def __init__(self, mounts: tuple[Mount, ...]) -> None:
        self._sources = {mount.path: str(mount.source) for mount in mounts}
        longest_first = sorted(self._sources, key=len, reverse=True)
        self._paths = re.compile(f"(?<![\\w./-])({'|'.join(map(re.escape, longest_first))})(?![\\w.-])")

    def __call__(self, text: str) -> str:
        return self._paths.sub(lambda match: self._sources[match[1]], text)


def _kubeconfig(account: Path, spec: ContainerSpec) -> Path:
    """What the ServiceAccount's directory says, as a kubeconfig beside it: its path cannot be mounted here."""
    host, port = (spec.environment[f"KUBERNETES_SERVICE_{name}"] for name in ("HOST", "PORT"))
    text = kubeconfig_text(
        server=f"https://{host}:{port}",
        ca_base64=base64.b64encode((account / "ca.crt").read_bytes()).decode(),
        user="pod",
        token=(account / "token").read_text(),
    )
    file = account.with_name(f"{account.name}.kubeconfig")
    file.touch(mode=0o600)
    file.write_text(text)
    return file
