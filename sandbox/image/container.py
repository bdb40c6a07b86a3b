"""Runs an image like a kubelet does under the restricted Pod Security profile, with runc and without a cluster.

The image's user, entry point and environment; a read-only root, no capabilities, no_new_privs, and the seccomp profile
that container engines use by default. The network is the machine's own, so that the container reaches the sandbox.

    async with Container("localhost/roomkeeper:test", environment={…}, files={"/etc/x": path}, log=path) as container:
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sandbox.image import buildah
from sandbox.launch import launched

SECCOMP_PROFILE: Final = Path("/usr/share/containers/seccomp.json")
"""Of Debian's package golang-github-containers-common, the default of podman and buildah."""
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CAPABILITY_SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")
_HIDDEN: Final = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi")
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Container:
    """One container; a second one may run from the same image."""

    def __init__(
        self,
        image: str,
        *,
        log: Path,
        arguments: Sequence[str] | None = None,
        entry_point: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, Path] | None = None,
        writable: Mapping[str, Path] | None = None,
        user: tuple[int, int] | None = None,
        directory: str | None = None,
    ) -> None:
        """`arguments`, `entry_point`, `user` (uid, gid) and `directory` (where it starts) replace the image's own.

        `environment` is added to the image's. `files` are mounted read-only and `writable` ones are not: path in the
        container → file or directory.
        """
        self._image = image
        self._log = log
        self._arguments = arguments
        self._entry_point = entry_point
        self._environment = dict(environment or {})
        self._mounts = [(path, file, "ro") for path, file in (files or {}).items()]
        self._mounts += [(path, file, "rw") for path, file in (writable or {}).items()]
        self._user = user
        self._directory = directory
        self._name = f"roomkeeper-{os.getpid()}-{secrets.token_hex(4)}"
        self._cleanup = contextlib.ExitStack()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.remove()

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The container's first process, as the machine numbers it."""
        state: dict[str, Any] = json.loads(buildah.output([*_runc(), "state", self._name]))
        return int(state["pid"])

    async def start(self) -> None:
        """Start it and return at once."""
        bundle = await asyncio.to_thread(self._make_bundle)
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *launched([*_runc(), "run", "--bundle", str(bundle), self._name]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait until it ends; its exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> int:
        """Send SIGTERM, as the kubelet does; the exit status."""
        self.send(signal.SIGTERM)
        return await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the container's first process, if it still runs."""
        if self._process is None or not self.running:
            return
        if number is signal.SIGKILL:
            subprocess.run([*_runc(), "kill", self._name, "KILL"], capture_output=True, check=False)
        else:
            # runc hands all other signals on.
            self._process.send_signal(number)

    async def remove(self) -> None:
        """End it with SIGKILL if it still runs, and remove its traces."""
        await asyncio.to_thread(_delete, self._name)
        if self._process is not None:
            await self._process.wait()
        await asyncio.to_thread(self._cleanup.close)

    def _make_bundle(self) -> Path:
        """The files of the container, and what describes it to the runtime."""
        remove_orphans()
        bundle = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="roomkeeper-bundle-")))
        root = self._cleanup.enter_context(buildah.mounted(self._image))
        image = buildah.inspect_image(self._image)["config"]
        (bundle / "config.json").write_text(json.dumps(self._config(root, image)))
        return bundle

    def _config(self, root: Path, image: Mapping[str, Any]) -> dict[str, Any]:
        """The OCI runtime's description of this container."""
        entry_point = self._entry_point if self._entry_point is not None else image["Entrypoint"]
        arguments = self._arguments if self._arguments is not None else image.get("Cmd") or ()
        user, group = self._user or map(int, image["User"].split(":"))
        environment = dict(entry.split("=", 1) for entry in image["Env"]) | self._environment
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(root), "readonly": True},
            "process": {
                "args": [*entry_point, *arguments],
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": self._directory or image.get("WorkingDir") or "/",
                "user": {"uid": user, "gid": group},
                "capabilities": {name: [] for name in _CAPABILITY_SETS},
                "noNewPrivileges": True,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
                },
                *(
                    {"destination": inside, "type": "bind", "source": str(file), "options": ["bind", how]}
                    for inside, file, how in self._mounts
                ),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "maskedPaths": list(_HIDDEN),
                "readonlyPaths": list(_READ_ONLY),
                "seccomp": seccomp(json.loads(SECCOMP_PROFILE.read_text(encoding="utf-8")), platform.machine()),
            },
        }


def seccomp(profile: Mapping[str, Any], kernel_name: str) -> dict[str, Any]:
    """An engine's seccomp profile as a runtime takes it, for a container without capabilities.

    `kernel_name` is the machine's architecture as `uname -m` says it.
    """
    machine = _ARCHITECTURES[kernel_name]
    native = next(entry for entry in profile["archMap"] if entry["architecture"].endswith(kernel_name.upper()))
    rules = []
    for rule in profile["syscalls"]:
        only, never = rule.get("includes") or {}, rule.get("excludes") or {}
        if only.get("caps") or machine not in only.get("arches", [machine]) or machine in never.get("arches", ()):
            continue
        kept = ("names", "action", "args", "errnoRet")
        rules.append({name: rule[name] for name in kept if rule.get(name) not in (None, [])})
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": [native["architecture"], *native["subArchitectures"]],
        "syscalls": rules,
    }


def remove_orphans() -> None:
    """End containers whose starter was killed."""
    listed: list[dict[str, Any]] = json.loads(buildah.output([*_runc(), "list", "--format", "json"])) or []
    for name in (entry["id"] for entry in listed):
        if not Path(f"/proc/{name.split('-')[1]}").exists():
            _delete(name)


def missing_tools() -> list[str]:
    """The programs that `bases`, `build` and this module need and that are not there."""
    return [name for name in ("buildah", "debootstrap", "dpkg-deb", "runc") if not shutil.which(name)]


def _delete(name: str) -> None:
    subprocess.run([*_runc(), "delete", "--force", name], capture_output=True, check=False)


def _runc() -> list[str]:
    return ["runc", "--root", str(buildah.storage() / "runc")]
