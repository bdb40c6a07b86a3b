"""What a runtime must do: know its images, and start containers. `process` and `runc` are the two."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Image:
    """What an image says of itself."""

    entry_point: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: str
    user: int
    group: int


@dataclass(frozen=True)
class Mount:
    """A file or directory of this machine at a path of the container."""

    path: str
    source: Path
    read_only: bool


@dataclass(frozen=True)
class Security:
    """The parts of the security contexts of Pod and container that a runtime enforces."""

    read_only_root: bool
    no_new_privileges: bool
    drops_all_capabilities: bool
    default_seccomp: bool


@dataclass(frozen=True)
class ContainerSpec:
    """One container, with nothing left to resolve: what the runtime starts."""

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    working_directory: str
    user: int
    group: int
    mounts: tuple[Mount, ...]
    security: Security
    log: Path
    ports: Mapping[int, int]
    """The container's ports → the ports of this machine behind them."""
    hosts: str
    """The content of /etc/hosts."""
    network_file: Path
    """What the program under `in_pod` reads."""


class Running(Protocol):
    """A started container."""

    async def wait(self) -> int:
        """The exit status once it has ended; 128 + the signal for one that was killed."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""

    async def remove(self) -> None:
        """End it with SIGKILL if it still runs, and remove its traces."""


class Runtime(Protocol):
    """Starts containers."""

    @property
    def finds_api_server_by_name(self) -> bool:
        """Whether its programs look for `kubernetes.default.svc`, as in a cluster; it needs the port 443."""

    def image(self, reference: str) -> Image:
        """The image that a Pod calls `reference`. Raises ImageMissing."""

    async def start(self, spec: ContainerSpec) -> Running:
        """Start a container and return at once. Raises CannotStart."""
