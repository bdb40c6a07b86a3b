"""Runs containers of the built image with runc, as `sandbox.image.container` does: user, file system and kernel limits
are those of a container. It needs root; the network is the machine's own (`network` gives each Pod its ports).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Final

from sandbox.errors import BuildError
from sandbox.image import buildah
from sandbox.image.container import Container
from sandbox.kubelet.errors import CannotStart, ConfigError, ImageMissing
from sandbox.kubelet.network import IN_POD
from sandbox.kubelet.runtime import ContainerSpec, Image, Security

_RESTRICTED: Final = Security(
    read_only_root=True, no_new_privileges=True, drops_all_capabilities=True, default_seccomp=True
)
_IN_POD: Final = "/run/sandbox/in-pod"
_NETWORK: Final = "/run/sandbox/network"


class RuncRuntime:
    """Starts containers. `images`: what a Pod calls an image → its name in our storage."""

    def __init__(self, images: Mapping[str, str]) -> None:
        self._images = dict(images)
        self._known: dict[str, Image] = {}

    @property
    def finds_api_server_by_name(self) -> bool:
        """Yes: its programs have a ServiceAccount's files and /etc/hosts."""
        return True

    def image(self, reference: str) -> Image:
        """What the image says of itself. Raises ImageMissing."""
        if reference not in self._images:
            known = ", ".join(self._images) or "none"
            raise ImageMissing(f'failed to pull image "{reference}": not found; the sandbox has {known}')
        if reference not in self._known:
            found = buildah.inspect_image(self._images[reference])["config"]
            user, _, group = found["User"].partition(":")
            self._known[reference] = Image(
                entry_point=tuple(found["Entrypoint"]),
                arguments=tuple(found.get("Cmd") or ()),
                environment=dict(entry.split("=", 1) for entry in found["Env"]),
                working_directory=found.get("WorkingDir") or "/",
                user=int(user),
                group=int(group),
            )
        return self._known[reference]

    async def start(self, spec: ContainerSpec) -> RuncContainer:
        """Start the container and return at once. Raises CannotStart."""
        if spec.security != _RESTRICTED:
            raise ConfigError(
                "the sandbox runs containers under the restricted profile only: readOnlyRootFilesystem, "
                "allowPrivilegeEscalation: false, capabilities.drop: [ALL], seccompProfile RuntimeDefault"
            )
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        hosts = spec.network_file.with_name("hosts")
        hosts.write_text(spec.hosts)
        container = Container(
            self._images[spec.image],
            log=spec.log,
            entry_point=spec.command,
            arguments=(),
            # `in_pod` takes these two out again.
            environment={
                **spec.environment,
                "PYTHONPATH": _IN_POD,
                "SANDBOX_NETWORK": f"{_NETWORK}/{spec.network_file.name}",
            },
            files={
                **{mount.path: mount.source for mount in spec.mounts if mount.read_only},
                "/etc/hosts": hosts,
                _IN_POD: IN_POD,
                _NETWORK: spec.network_file.parent,
            },
            writable={mount.path: mount.source for mount in spec.mounts if not mount.read_only},
            user=(spec.user, spec.group),
            directory=spec.working_directory,
        )
        try:
            await container.start()
        except BuildError as error:
            await container.remove()
            raise CannotStart(str(error)) from error
        return RuncContainer(container)


class RuncContainer:
    """One container."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def wait(self) -> int:
        """The exit status, as runc reports it."""
        return await self._container.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        self._container.send(number)

    async def remove(self) -> None:
        """End it and remove its traces."""
        await self._container.remove()
