"""A Kubernetes API in memory with all that a Lease needs: names, resourceVersions, and outages."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.errors import AlreadyExists, Backend, BackendUnavailable, Conflict, NotFound


class MemoryKubernetes:
    """Objects by name. Every request yields to the event loop once, so that requests of several replicas interleave."""

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.writes = self.reads = 0
        self.is_down = False
        self.hold_writes: asyncio.Event | None = None
        self.answers_lost = 0
        self.answers_hang = False
        self.reconnects = 0

    def client(self) -> KubernetesClient:
        """Return this object as a client. It has the verbs that the code under test uses."""
        return cast("KubernetesClient", self)

    async def get(self, _resource: Resource, _namespace: str, name: str) -> Body:
        """Return an object. Raises NotFound."""
        self.reads += 1
        await self._answer("get")
        if name not in self.objects:
            raise NotFound(Backend.KUBERNETES, "get", name)
        return copy.deepcopy(self.objects[name])

    async def create(self, _resource: Resource, _namespace: str, body: Body) -> Body:
        """Create an object. Raises AlreadyExists."""
        await self._answer("create")
        name = body["metadata"]["name"]
        if name in self.objects:
            raise AlreadyExists(Backend.KUBERNETES, "create", name)
        return await self._written(self._store(name, body, 1))

    async def reconnect(self, _silent_seconds: float) -> None:
        """Count how often the connections are given up."""
        self.reconnects += 1

    async def replace(self, _resource: Resource, _namespace: str, name: str, body: Body) -> Body:
        """Replace an object. Raises NotFound, and Conflict if the resourceVersion is not the present one."""
        await self._answer("replace")
        if self.hold_writes is not None:
            await self.hold_writes.wait()
        if name not in self.objects:
            raise NotFound(Backend.KUBERNETES, "replace", name)
        version = self.objects[name]["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise Conflict(Backend.KUBERNETES, "replace", "moved on")
        return await self._written(self._store(name, body, int(version) + 1))

    def spec(self, name: str) -> dict[str, Any]:
        """Return the spec of an object."""
        spec: dict[str, Any] = self.objects[name]["spec"]
        return spec

    async def _written(self, stored: Body) -> Body:
        """Answer a write that has run, unless the answer is lost or hangs."""
        if self.answers_lost:
            self.answers_lost -= 1
            raise BackendUnavailable(Backend.KUBERNETES, "write", "no answer", may_have_run=True)
        if self.answers_hang:
            await asyncio.Event().wait()
        return stored

    def _store(self, name: str, body: Body, version: int) -> Body:
        self.writes += 1
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(version)
        self.objects[name] = stored
        return copy.deepcopy(stored)

    async def _answer(self, verb: str) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise BackendUnavailable(Backend.KUBERNETES, verb, "no answer")
