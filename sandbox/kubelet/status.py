"""The status of a Pod, computed from what its containers do (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Body = dict[str, Any]


@dataclass(frozen=True)
class Waiting:
    """Not started, and why."""

    reason: str = "ContainerCreating"
    message: str = ""

    def body(self) -> Body:
        """As Kubernetes writes it."""
        return {"waiting": {"reason": self.reason, **({"message": self.message} if self.message else {})}}


@dataclass(frozen=True)
class Running:
    """Started; `ready` by its readiness probe."""

    started_at: str
    started: bool = False
    ready: bool = False

    def body(self) -> Body:
        """As Kubernetes writes it."""
        return {"running": {"startedAt": self.started_at}}


@dataclass(frozen=True)
class Terminated:
    """Ended."""

    exit_code: int
    started_at: str
    finished_at: str
    message: str = ""

    def body(self) -> Body:
        """As Kubernetes writes it."""
        ended: Body = {
            "exitCode": self.exit_code,
            "reason": "Completed" if self.exit_code == 0 else "Error",
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
        }
        return {"terminated": {**ended, **({"message": self.message} if self.message else {})}}


@dataclass(frozen=True)
class ContainerState:
    """What one container does, and how its last run ended."""

    name: str
    image: str
    now: Waiting | Running | Terminated = field(default_factory=Waiting)
    last: Terminated | None = None
    restarts: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether it counts as ready."""
        return isinstance(self.now, Running) and self.now.ready

    def body(self) -> Body:
        """As Kubernetes writes it."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "ready": self.is_ready,
            "started": isinstance(self.now, Running) and self.now.started,
            "restartCount": self.restarts,
            "state": self.now.body(),
            "lastState": {} if self.last is None else self.last.body(),
        }


_PHASES: Final = ("Pending", "Running", "Succeeded", "Failed")


def phase(states: Mapping[str, ContainerState], restart_policy: str, *, ending: bool) -> str:
    """The phase of a Pod with these containers. `ending`: it is being deleted, so nothing is started again."""
    now = [state.now for state in states.values()]
    over = [entry for entry in now if isinstance(entry, Terminated)]
    if len(over) == len(now):
        failed = any(entry.exit_code != 0 for entry in over)
        if ending or restart_policy == "Never" or (restart_policy == "OnFailure" and not failed):
            return "Failed" if failed else "Succeeded"
    has_run = any(state.restarts or not isinstance(state.now, Waiting) for state in states.values())
    return "Running" if has_run else "Pending"


def pod_status(
    pod: Body, states: Mapping[str, ContainerState], first: Mapping[str, ContainerState], ip: str, now: str
) -> Body:
    """The whole status. `first`: its init containers. `now` becomes the time of the conditions that change."""
    ending = "deletionTimestamp" in pod["metadata"]
    found = phase(states, pod["spec"].get("restartPolicy", "Always"), ending=ending)
    if any(isinstance(state.now, Terminated) and state.now.exit_code != 0 for state in first.values()):
        # With another policy than Never it would have been started again.
        found = "Failed"
    ready = all(state.is_ready for state in states.values())
    initialized = all(isinstance(state.now, Terminated) and state.now.exit_code == 0 for state in first.values())
    over = found in ("Succeeded", "Failed")
    wanted = {
        "PodScheduled": (True, ""),
        "Initialized": (initialized, "" if initialized else "ContainersNotInitialized"),
        "ContainersReady": (ready, "" if ready else "PodCompleted" if over else "ContainersNotReady"),
        "Ready": (ready, "" if ready else "PodCompleted" if over else "ContainersNotReady"),
    }
    status = pod.get("status", {})
    before = {entry["type"]: entry for entry in status.get("conditions", ())}
    conditions = [entry for kind, entry in before.items() if kind not in wanted]
    for kind, (holds, reason) in wanted.items():
        value = "True" if holds else "False"
        same = before.get(kind, {}).get("status") == value
        since = before[kind].get("lastTransitionTime", now) if same else now
        conditions.append({"type": kind, "status": value, "lastTransitionTime": since, "reason": reason})
    return {
        "phase": found,
        "conditions": [{key: value for key, value in entry.items() if value != ""} for entry in conditions],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": status.get("startTime", now),
        "containerStatuses": [state.body() for state in states.values()],
        "initContainerStatuses": [state.body() for state in first.values()],
        "qosClass": status.get("qosClass", "Burstable"),
    }
