"""kopf's part: the watch of our kinds, and nothing else. A handler puts the body of an event into the cache.

The handlers do no I/O, never touch `patch` and return nothing, so that kopf writes nothing of its own. Our own chunked
LIST opens the gate at start and cleans up afterwards, because kopf tells neither when its first listing is complete nor
which objects vanished while a watch was broken. Neighbors: `views.cache` takes the bodies, `triggers.router` turns
changes into keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import kopf
import structlog

from controller.api.names import GROUP, KINDS, VERSION, ResourceKind
from controller.backends.bundle import resource_of
from controller.clients.connection import KubernetesConnection
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.errors import BackendError, NotFound
from controller.telemetry import metrics
from controller.triggers.kopf_settings import kopf_settings
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)

_START_PAUSE_SECONDS = 1.0

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")


class KubernetesTrigger:
    """Feeds the caches of the registered kinds, from the watch and from LISTs."""

    def __init__(
        self,
        connection: KubernetesConnection,
        client: KubernetesClient,
        caches: Mapping[ResourceKind, ObjectCache[Any]],
        namespaces: tuple[str, ...],
    ) -> None:
        self._connection = connection
        self._client = client
        self._caches = caches
        self._namespaces = namespaces

    async def wait_for_crds(self) -> None:
        """Return once our CRDs are established. Until then, log what is missing."""
        said = ""
        while True:
            try:
                missing = [
                    kind.crd
                    for kind in {**dict.fromkeys(KINDS), **self._caches}
                    if not await self._is_established(kind)
                ]
            except BackendError as error:
                problem = str(error)
            else:
                if not missing:
                    return
                problem = f"CRDs are not installed: {', '.join(missing)}; apply crds/ (or manifests/install.yaml)"
            if problem != said:
                said = problem
                log.warning("waiting", what=problem)
            await asyncio.sleep(_START_PAUSE_SECONDS)

    async def first_sync(self) -> None:
        """`sync`, repeated until it works: the API server may be away when the operator starts."""
        while True:
            try:
                return await self.sync()
            except BackendError as error:
                log.warning("objects cannot be listed yet", error=str(error))
            await asyncio.sleep(_START_PAUSE_SECONDS)

    async def sync(self) -> None:
        """LIST everything once, in pages; evict cached objects that the server no longer has."""
        await asyncio.gather(*(self._sync_kind(kind) for kind in self._caches))

    async def resync_forever(self, interval_seconds: float) -> None:
        """Repeat `sync` at intervals: nothing else finds deletions that a broken watch missed."""
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                await self.sync()
            except BackendError as error:
                log.warning("the caches could not be compared with the server; next time", error=str(error))

    async def watch(self, stop: asyncio.Event, on_started: Callable[[], None]) -> None:
        """Run kopf until `stop` is set; `on_started` is called once it is up."""
        ready = asyncio.Event()
        started = asyncio.create_task(_call_after(ready, on_started))
        registry = kopf.OperatorRegistry()
        for kind, cache in self._caches.items():
            self._register(registry, kind, cache)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:  # kopf runs a plain function in a thread, without our loop
            return self._connection.for_kopf()

        try:
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                standalone=True,
                stop_flag=stop,
                ready_flag=ready,
            )
        finally:
            started.cancel()

    def _register(self, registry: kopf.OperatorRegistry, kind: ResourceKind, cache: ObjectCache[Any]) -> None:
        events = metrics.watch_events.labels(kind.kind)

        @kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"cache-{kind.plural}")
        async def feed(event: Any, **_: Any) -> None:  # kopf runs a plain function in a thread
            events.inc()
            if event["type"] == "DELETED":
                cache.remove(event["object"])
            else:
                cache.offer(event["object"])

    async def _sync_kind(self, kind: ResourceKind) -> None:
        cache = self._caches[kind]
        for namespace in self._namespaces or ("",):
            uids: set[str] = set()
            version = 0
            async for page in self._client.pages(resource_of(kind), namespace):
                version = version or int(page["metadata"]["resourceVersion"])
                for body in page["items"]:
                    cache.offer(body)
                    uids.add(body["metadata"]["uid"])
                await asyncio.sleep(0)  # 10 000 objects must not delay the renewal of the lease
            evicted = cache.evict_missing(uids, version, namespace)
            if evicted:
                log.warning("deletions that the watch had missed were found", kind=kind.kind, count=evicted)

    async def _is_established(self, kind: ResourceKind) -> bool:
        try:
            crd = await self._client.get(CRDS, "", kind.crd)
        except NotFound:
            return False
        # A CRD that was created a moment ago has no conditions yet: null.
        conditions = (crd.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def _call_after(event: asyncio.Event, callback: Callable[[], None]) -> None:
    await event.wait()
    callback()
