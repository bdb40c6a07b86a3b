"""Asks the API server which objects exist under a name: the last word before something is taken away from one.

"Not in the cache" is only a hint. Neighbors: `backends.gone_matches`, `backends.cleaning` and `triggers.sweep_rooms`
ask.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.backends.bundle import MATCHES, ROOMS
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clients.reading import reading
from controller.errors import Backend, NotFound


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of our kinds, as the API server has them now. Every method raises BackendError."""

    kubernetes: KubernetesClient

    async def match_uid(self, namespace: str, name: str) -> str | None:
        """The UID of the Match with this name; None if there is none."""
        return await self._uid(MATCHES, namespace, name)

    async def match_uids(self, namespace: str) -> frozenset[str]:
        """The UIDs of all Matches in a namespace, of one moment after this call. A list with a gap is refused."""
        uids = set[str]()
        async for page in self.kubernetes.pages(MATCHES, namespace, of_metadata=True):
            with reading(Backend.KUBERNETES, "list"):
                uids.update(str(item["metadata"]["uid"]) for item in page["items"])
        return frozenset(uids)

    async def room_uid(self, namespace: str, name: str) -> str | None:
        """The UID of the Room with this name; None if there is none."""
        return await self._uid(ROOMS, namespace, name)

    async def _uid(self, resource: Resource, namespace: str, name: str) -> str | None:
        try:
            return str((await self.kubernetes.get(resource, namespace, name))["metadata"]["uid"])
        except NotFound:
            return None
