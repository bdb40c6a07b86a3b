"""The images that the node of a test's cluster has: one installed environment under several names."""

from __future__ import annotations

from typing import Final

from sandbox.image.build import origin

REPOSITORY: Final = "ghcr.io/roomkeeper/roomkeeper"
VERSION: Final = origin().version
IMAGE: Final = f"{REPOSITORY}:{VERSION}"
NEXT_VERSION: Final = f"{VERSION}-next"
"""Stands for the next version: until there is a tag, its image is this one under another name."""
