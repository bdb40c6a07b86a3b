"""What a Pod says of one container, resolved into what a runtime starts (pure).

What this kubelet does not understand is an error, never ignored: a Pod that runs here runs as it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sandbox.kubelet.environment import expand
from sandbox.kubelet.errors import ConfigError
from sandbox.kubelet.network import PodAddress
from sandbox.kubelet.runtime import ContainerSpec, Image, Mount, Security

Body = dict[str, Any]

# What the API server and clients put into a Pod's spec, and this kubelet obeys or can leave to others.
_POD_FIELDS: Final = {
    *("containers", "initContainers", "volumes", "restartPolicy", "terminationGracePeriodSeconds", "securityContext"),
    *("serviceAccountName", "serviceAccount", "automountServiceAccountToken", "enableServiceLinks", "nodeName"),
    *("imagePullSecrets", "dnsPolicy", "schedulerName", "priority", "priorityClassName", "preemptionPolicy"),
    *("tolerations", "nodeSelector", "affinity", "topologySpreadConstraints", "hostUsers"),
}
_CONTAINER_FIELDS: Final = {
    *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "workingDir", "ports", "resources"),
    *("volumeMounts", "livenessProbe", "readinessProbe", "startupProbe", "securityContext"),
    *("terminationMessagePath", "terminationMessagePolicy"),
}
_SECURITY_FIELDS: Final = {
    *("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"),
    *("allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"),
}


def check(pod: Body) -> None:
    """Raise ConfigError for a field that is not understood here."""
    spec = pod["spec"]
    unknown = {name for name in spec if name not in _POD_FIELDS}
    unknown |= {f"securityContext.{name}" for name in set(spec.get("securityContext", ())) - _SECURITY_FIELDS}
    for kind in ("containers", "initContainers"):
        # Native sidecars are init containers with a restartPolicy, which is not known here.
        for container in spec.get(kind, ()):
            unknown |= {f"{kind}.{name}" for name in set(container) - _CONTAINER_FIELDS}
            security = set(container.get("securityContext", ())) - _SECURITY_FIELDS
            unknown |= {f"{kind}.securityContext.{name}" for name in security}
    if unknown:
        raise ConfigError(f"the sandbox's kubelet does not know {', '.join(sorted(unknown))}")


def container_spec(
    pod: Body,
    container: Body,
    image: Image,
    variables: Mapping[str, str],
    *,
    volume: Callable[[str], Path],
    address: PodAddress,
    log: Path,
    hosts: str,
    network_file: Path,
) -> ContainerSpec:
    """Everything that the runtime needs. `volume` finds the directory of a volume. Raises ConfigError."""
    context = {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}
    user, group = int(context.get("runAsUser", image.user)), int(context.get("runAsGroup", image.group))
    if context.get("runAsNonRoot") and user == 0:
        raise ConfigError("container has runAsNonRoot and image will run as root")
    command = container.get("command")
    arguments = container.get("args")
    if arguments is None:
        arguments = () if command is not None else image.arguments
    words = (*(command if command is not None else image.entry_point), *arguments)
    return ContainerSpec(
        image=container["image"],
        command=tuple(expand(word, variables) for word in words),
        environment={**image.environment, **variables},
        working_directory=container.get("workingDir") or image.working_directory,
        user=user,
        group=group,
        mounts=tuple(_mounts(pod, container, volume)),
        security=Security(
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
            no_new_privileges=context.get("allowPrivilegeEscalation") is False,
            drops_all_capabilities=context.get("capabilities", {}).get("drop") == ["ALL"],
            default_seccomp=context.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        ),
        log=log,
        ports=address.ports,
        hosts=hosts,
        network_file=network_file,
    )


def _mounts(pod: Body, container: Body, volume: Callable[[str], Path]) -> Iterable[Mount]:
    writable = {entry["name"] for entry in pod["spec"].get("volumes", ()) if "emptyDir" in entry}
    for mount in container.get("volumeMounts", ()):
        unknown = set(mount) - {"name", "mountPath", "readOnly", "subPath", "recursiveReadOnly"}
        if unknown:
            raise ConfigError(f"the sandbox's kubelet does not know volumeMounts.{', '.join(sorted(unknown))}")
        source = volume(mount["name"])
        if "subPath" in mount:
            source /= mount["subPath"]
        read_only = bool(mount.get("readOnly")) or mount["name"] not in writable
        yield Mount(mount["mountPath"].rstrip("/"), source, read_only)
