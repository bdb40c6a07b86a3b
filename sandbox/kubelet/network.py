"""Addresses without a cluster network: each Pod has one in Kubernetes, and ports of this machine's loopback behind it.

Kubernetes refuses loopback addresses in EndpointSlices, and two Pods on one machine cannot listen on one port. So a
Pod's address is only a name, and `in_pod` exchanges the ports as its program opens them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.ports import PortLocks

Body = dict[str, Any]

IN_POD: Final = Path(__file__).parent / "in_pod"
_PODS: Final = "10.244.{}.{}"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True)
class PodAddress:
    """The address of one Pod, and the ports of this machine behind its ports."""

    ip: str
    ports: Mapping[int, int]


class Network:
    """The addresses of one cluster."""

    def __init__(self) -> None:
        self._locks = PortLocks()
        # Another cluster on this machine has its own.
        self.api_address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.1"
        self._count = 0
        self._pods: dict[str, PodAddress] = {}
        self._services: dict[str, str] = {}
        self._behind: dict[tuple[str, int], int] = {}
        self._files: dict[Path, PodAddress] = {}

    @property
    def hosts(self) -> str:
        """/etc/hosts of a Pod: programs that look up names by themselves find the API server."""
        names = " ".join(f"kubernetes.default{end}" for end in ("", ".svc", ".svc.cluster.local"))
        return f"{HOST} localhost\n{self.api_address} {names}\n"

    def release(self) -> None:
        """Give up all ports."""
        self._locks.release()

    def add_pod(self, spec: Body, file: Path) -> PodAddress:
        """Give a Pod an address, with a port of this machine for each port that its containers name."""
        self._count += 1
        numbers = {
            int(port["containerPort"]) for container in spec["containers"] for port in container.get("ports", ())
        }
        ip = _PODS.format(self._count // 250, self._count % 250 + 2)
        address = PodAddress(ip, {number: self._locks.take() for number in sorted(numbers)})
        self._pods[ip] = address
        self._files[file] = address
        self._write()
        return address

    def remove_pod(self, address: PodAddress, file: Path) -> None:
        """Forget a Pod that has ended."""
        self._pods.pop(address.ip, None)
        self._files.pop(file, None)

    def add_service(self, name: str, namespace: str, ip: str, port: int, real: int | None = None) -> int:
        """Put a port of this machine behind a port of a Service; return it. Programs in Pods find it by its names."""
        real = self._locks.take() if real is None else real
        for known in (name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"):
            self._services[known] = ip
        self._behind[ip, port] = real
        self._write()
        return real

    def real_port(self, ip: str, port: int) -> int | None:
        """The port of this machine behind a Pod's; None if that Pod is not here, or names no such port."""
        pod = self._pods.get(ip)
        return None if pod is None else pod.ports.get(port)

    def _write(self) -> None:
        connect = {f"{ip}:{port}": real for (ip, port), real in self._behind.items()}
        for pod in self._pods.values():
            connect |= {f"{pod.ip}:{port}": real for port, real in pod.ports.items()}
        for file, pod in self._files.items():
            content = {"listen": {str(port): real for port, real in pod.ports.items()}}
            scratch = file.with_name(f".{file.name}.new")
            scratch.write_text(json.dumps({**content, "connect": connect, "names": self._services}))
            scratch.chmod(0o644)
            scratch.replace(file)
