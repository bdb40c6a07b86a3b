"""Asks the API server which objects exist under a name: the last word before something is taken away from one.

"Not in the cache" is only a hint. Neighbors: `backends.restores`, `backends.cleaning` and `triggers.sweep_rooms` ask.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.backends.bundle import MATCHES, ROOMS
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.errors import NotFound


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of our kinds, as the API server has them now. Every method raises BackendError."""

    kubernetes: KubernetesClient

    async def match_uid(self, namespace: str, name: str) -> str | None:
        """The UID of the Match with this name; None if there is none."""
        return await self._uid(MATCHES, namespace, name)

    async def room_uid(self, namespace: str, name: str) -> str | None:
        """The UID of the Room with this name; None if there is none."""
        return await self._uid(ROOMS, namespace, name)

    async def _uid(self, resource: Resource, namespace: str, name: str) -> str | None:
        try:
            return str((await self.kubernetes.get(resource, namespace, name))["metadata"]["uid"])
        except NotFound:
            return None
