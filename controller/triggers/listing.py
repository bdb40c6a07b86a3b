"""Our own LIST of one kind in one scope: it fills the cache, and finds what a watch cannot tell.

kopf tells neither when its listing is complete nor which objects vanished while a watch was broken. This LIST does, and
the watch goes on from its version, so kopf reads no object that is here already (`triggers.intake`). It reads in pages,
and takes a page in a few objects at a time: users wait for other things meanwhile. Neighbors: `triggers.scope` asks for
it, `views.cache` takes the bodies.
"""

from __future__ import annotations

from typing import Any

import structlog

from controller.api.names import ResourceKind
from controller.backends.bundle import resource_of
from controller.clients.kubernetes import KubernetesClient
from controller.errors import BackendError, NotFound
from controller.triggers.pauses import with_pauses
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)

# From here on one LIST of everything costs less than so many GETs.
_NEWER_AT_MOST = 50


class Listing:
    """LISTs of one kind, in one namespace or in all if `namespace` is empty.

    `complete_at`: the version at which the last LIST had everything; empty if there was none, or if one object of it
    could not be read. A watch from there misses nothing.
    """

    def __init__(
        self, kind: ResourceKind, cache: ObjectCache[Any], client: KubernetesClient, namespace: str = ""
    ) -> None:
        self._kind = kind
        self._cache = cache
        self._client = client
        self._namespace = namespace
        self.complete_at = ""

    async def read(self, *, is_known: bool) -> None:
        """LIST everything once; evict cached objects that the server no longer has. Raises BackendError.

        Where objects `is_known`, their metadata alone are read, and what is newer is read by itself. Where the metadata
        show much that is newer, or nothing is known yet, everything is read. One object that the API server does not
        give, such as one that it cannot convert, is left to the watch and costs no other one.
        """
        self.complete_at = ""
        version, newer = await self._list(of_metadata=is_known and len(self._cache) > 0)
        if len(newer) > _NEWER_AT_MOST:
            version, newer = await self._list(of_metadata=False)
        if await self._read_each(newer):
            self.complete_at = version

    async def _read_each(self, newer: list[tuple[str, str]]) -> bool:
        """Read these objects. Returns whether all of them that exist were read."""
        failed = False
        for namespace, name in newer:
            try:
                self._cache.offer(await self._client.get(resource_of(self._kind), namespace, name))
            except NotFound:
                continue  # it was deleted since the LIST: that is the watch's to tell, or the next LIST's
            except BackendError as error:
                if failed:
                    raise  # it is not about one object
                failed = True
                tell = log.debug if error.is_told else log.warning
                kind, why = self._kind.kind, str(error)
                tell("an object is left to the watch", kind=kind, namespace=namespace, name=name, why=why)
        return not failed

    async def _list(self, *, of_metadata: bool) -> tuple[str, list[tuple[str, str]]]:
        """LIST once, and evict what is missing. Return the version, and the namespaces and names still to be read."""
        cache, uids, newer, version = self._cache, set[str](), list[tuple[str, str]](), ""
        async for page in self._client.pages(resource_of(self._kind), self._namespace, of_metadata=of_metadata):
            version = version or page["metadata"]["resourceVersion"]
            async for body in with_pauses(page["items"]):
                uids.add(body["metadata"]["uid"])
                if of_metadata:
                    if (name := cache.news(body)) is not None:
                        newer.append(name)
                else:
                    cache.offer(body)
        evicted = cache.evict_missing(uids, int(version), self._namespace)
        if evicted:
            log.warning("deletions that the watch had missed were found", kind=self._kind.kind, count=evicted)
        return version, newer
