"""What keeps a container from its start. Each error carries the reason that the Pod's status shows."""

from __future__ import annotations

from typing import ClassVar

from sandbox.errors import SandboxError


class CannotStart(SandboxError):
    """A container cannot be started now; the kubelet tries again."""

    reason: ClassVar[str] = "CreateContainerError"


class ConfigError(CannotStart):
    """What the Pod refers to is not there, or is not understood."""

    reason = "CreateContainerConfigError"


class VolumeError(CannotStart):
    """A volume cannot be made; containers wait for it."""

    reason = "ContainerCreating"


class ImageMissing(CannotStart):
    """The runtime does not have this image."""

    reason = "ErrImagePull"
