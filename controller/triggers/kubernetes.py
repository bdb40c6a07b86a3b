"""The watch of our kinds in all scopes: one for the whole cluster, or one for each namespace of the settings; and one
for the LiveKitServers of the operator's own namespace.

A scope that cannot be read (no such namespace, no rights) stops no other one: the operator is ready as soon as all that
may be read are in the caches, and takes the others up later. Neighbors: `triggers.scope` lists and watches one scope,
`triggers.crds` waits for the CRDs, `triggers.router` turns changes of the caches into keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from controller.api.names import ResourceKind
from controller.clients.connection import KubernetesConnection
from controller.clients.kubernetes import KubernetesClient
from controller.errors import BackendError
from controller.telemetry.pulse import Pulse
from controller.triggers.crds import CrdGate
from controller.triggers.scope import Scope, Words
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)

_START_PAUSE_SECONDS = 1.0
_SERVERS = Words(
    "the LiveKitServers of the namespace {namespace}",
    "are",
    "bind the Role of this version in the operator's own namespace; the LiveKit server of the settings is used",
)


class KubernetesTrigger:
    """Feeds the caches of the registered kinds, from the watch and from LISTs.

    Without the right to read the `own` kinds, the operator works with the LiveKit server of its settings.
    """

    def __init__(
        self,
        connection: KubernetesConnection,
        client: KubernetesClient,
        caches: Mapping[ResourceKind, ObjectCache[Any]],
        namespaces: tuple[str, ...],
        own: Mapping[ResourceKind, ObjectCache[Any]],
        own_namespace: str,
    ) -> None:
        self._crds = CrdGate(client, caches)
        self.servers = Scope(own_namespace, connection, client, own, self._crds, _SERVERS)
        self.scopes = [Scope(namespace, connection, client, caches, self._crds) for namespace in namespaces or ("",)]

    def read_namespaces(self) -> tuple[str, ...]:
        """The namespaces of the settings whose objects are in the caches; the others may not be judged by them."""
        return tuple(scope.namespace for scope in self.scopes if scope.was_synced and scope.namespace)

    def unread_namespaces(self) -> tuple[str, ...]:
        """The namespaces of the settings whose objects were not read yet: what they hold is not known."""
        return tuple(scope.namespace for scope in self.scopes if not scope.was_synced)

    async def first_sync(self) -> None:
        """Return once the CRDs are served and every scope that may be read is in the caches, which is at least one.

        The API server may be away when the operator starts: a scope that it did not answer for is waited for.
        """
        await self._crds.wait()
        await self._crds.check_schema()
        every = (*self.scopes, self.servers)
        while True:
            await asyncio.gather(*(scope.try_sync() for scope in every if not scope.is_synced))
            is_decided = all(scope.is_synced or scope.is_refused for scope in every)
            if is_decided and any(scope.is_synced for scope in self.scopes):
                return
            await asyncio.sleep(_START_PAUSE_SECONDS)
            await self._crds.wait()

    async def resync(self, interval_seconds: float, pulse: Pulse) -> None:
        """LIST what is watched at intervals: nothing else finds deletions that a broken watch missed.

        The API server may keep the watch of a deleted CRD open. So if the CRDs were away, the watches begin again.
        """
        while True:
            await asyncio.sleep(interval_seconds)
            if await self._crds.wait(pulse.beat):
                for scope in (*self.scopes, self.servers):
                    scope.begin_again()
                continue
            for scope in (*self.scopes, self.servers):
                pulse.beat()
                with pulse.item("to compare the caches with the server", namespace=scope.namespace):
                    if scope.is_synced:
                        await self._compare(scope)

    async def _compare(self, scope: Scope) -> None:
        try:
            await scope.sync()
        except BackendError as error:
            tell = log.debug if error.is_told else log.warning
            tell("the caches could not be compared with the server; next time", error=str(error))
