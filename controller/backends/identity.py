"""The identity of this replica, and whether the replica that a Lease names may still be alive.

An identity is `<pod or host>_<boot>.<pid namespace>.<pid>.<start time>`, and `.<UID of the pod>` in a pod. It is unique
per process. With it, a successor can prove that its predecessor is dead, instead of waiting until the lease expires: it
was a process of the same machine that is gone, or an earlier container of the same pod, since the kubelet starts the
next one only after it. The name of the pod proves nothing: a pod of a StatefulSet that was deleted by force, on a node
that cannot be reached, still runs there under the name of the next one.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """The identity of one process. `pod_uid` is empty outside a pod."""

    host: str
    boot: str
    pid_namespace: str
    pid: int
    started_ticks: str
    pod_uid: str = ""

    @classmethod
    def of_this_process(cls) -> ReplicaIdentity:
        """The identity of the running process. The downward API gives the pod's name and UID: POD_NAME and POD_UID."""
        return cls(
            host=os.environ.get("POD_NAME", "") or socket.gethostname(),
            boot=_read("/proc/sys/kernel/random/boot_id")[:8] or "0",
            pid_namespace=_pid_namespace(),
            pid=os.getpid(),
            started_ticks=_started_ticks(os.getpid()),
            pod_uid=os.environ.get("POD_UID", ""),
        )

    def __str__(self) -> str:
        process = f"{self.host}_{self.boot}.{self.pid_namespace}.{self.pid}.{self.started_ticks}"
        return f"{process}.{self.pod_uid}" if self.pod_uid else process

    def is_dead_predecessor(self, holder: str) -> bool:
        """Whether `holder` certainly no longer runs. False if that cannot be known."""
        if holder == str(self):
            return False
        host, _, process = holder.rpartition("_")
        parts = process.split(".")
        if host != self.host or len(parts) not in {4, 5}:
            return False
        if self.pod_uid and parts[4:] == [self.pod_uid]:
            return True
        boot, pid_namespace, pid, started_ticks = parts[:4]
        if self.started_ticks == "0":
            return False
        if boot != self.boot or pid_namespace != self.pid_namespace or not pid.isdecimal():
            return False
        return _started_ticks(int(pid)) != started_ticks


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]") or "0"
    except OSError:
        return "0"


def _started_ticks(pid: int) -> str:
    """Start time of a process in clock ticks since boot; "0" if there is no such process, no /proc, or only a
    zombie."""
    # The name in parentheses may contain blanks and parentheses itself, so count from the last parenthesis.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in {"Z", "X"}:
        return "0"
    return fields[19]
