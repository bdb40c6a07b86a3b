"""The life of one Pod on the node: address, volumes, containers, status, and its end.

`kubelet` makes one of these for each Pod, and hands over every change of the object.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from sandbox.administrator import Administrator, Refused
from sandbox.kubelet.container import Container
from sandbox.kubelet.environment import resolve, service_links
from sandbox.kubelet.errors import CannotStart
from sandbox.kubelet.network import Network
from sandbox.kubelet.runtime import ContainerSpec, Runtime
from sandbox.kubelet.sources import read_services, read_sources
from sandbox.kubelet.spec import check, container_spec
from sandbox.kubelet.status import ContainerState, Terminated, pod_status
from sandbox.kubelet.volumes import Volumes

Body = dict[str, Any]

_REFRESH_SECONDS: Final = 3.0


class Pod:
    """One Pod that is bound to our node."""

    def __init__(
        self, body: Body, admin: Administrator, engine: Runtime, network: Network, directory: Path, logs: Path
    ) -> None:
        """`directory` is for its volumes, and goes with it; `logs` stays."""
        self.body = body
        self.name = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        self._admin = admin
        self._engine = engine
        self._network = network
        self._directory = directory
        self._logs = logs
        self._network_file = directory / "network" / "network.json"
        self._network_file.parent.mkdir(parents=True)
        self._address = network.add_pod(body["spec"], self._network_file)
        self._volumes = Volumes(body, directory / "volumes", admin)
        self._news = asyncio.Event()
        self._deleting = asyncio.Event()
        self._first = self._containers(body["spec"].get("initContainers", ()))
        self._main = self._containers(body["spec"]["containers"])
        self._written: Body = {}
        body.setdefault("status", {})["podIP"] = self._address.ip
        body["status"]["hostIP"] = "127.0.0.1"

    @property
    def path(self) -> str:
        """The object's path on the API server."""
        namespace, name = self.name.split("/")
        return f"/api/v1/namespaces/{namespace}/pods/{name}"

    def log(self, container: str) -> Path:
        """The log of a container, of all its runs."""
        return self._logs / f"{self.name.replace('/', '_')}_{container}.log"

    def update(self, body: Body) -> None:
        """Take over the object as it is now."""
        self.body = body
        if "deletionTimestamp" in body["metadata"]:
            self._deleting.set()

    async def run(self) -> None:
        """Live until the object is deleted; then it is removed from the API server."""
        self.update(self.body)
        deleting = asyncio.create_task(self._deleting.wait())
        working = asyncio.create_task(self._work(), name=f"containers of {self.name}")
        others = [
            asyncio.create_task(self._write_forever(), name=f"status of {self.name}"),
            asyncio.create_task(self._refresh_forever(), name=f"volumes of {self.name}"),
        ]
        try:
            await _first_of(deleting, working, *others)
            await _first_of(deleting, *others)
            await self._end(float(self.body["metadata"].get("deletionGracePeriodSeconds", 30)))
            await working
        finally:
            for container in (*self._first, *self._main):
                await container.end(0)
            for task in (deleting, working, *others):
                task.cancel()
            await asyncio.gather(deleting, working, *others, return_exceptions=True)
            self._network.remove_pod(self._address, self._network_file)
            shutil.rmtree(self._directory, ignore_errors=True)
        await self._write()
        await _remove(self._admin, self.body)

    def _containers(self, bodies: Iterable[Body]) -> list[Container]:
        return [Container(body, self._engine, self._address, self._prepare, self._news.set) for body in bodies]

    async def _work(self) -> None:
        policy = self.body["spec"].get("restartPolicy", "Always")
        for container in self._first:
            await container.run("Never" if policy == "Never" else "OnFailure")
            if not (isinstance(container.state.now, Terminated) and container.state.now.exit_code == 0):
                return
        async with asyncio.TaskGroup() as group:
            for container in self._main:
                group.create_task(container.run(policy))

    async def _end(self, grace_seconds: float) -> None:
        await asyncio.gather(*(container.end(grace_seconds) for container in (*self._first, *self._main)))

    async def _prepare(self, container: Body) -> ContainerSpec:
        """What the Pod says of a container, as it is now: Secrets may have come since the last try."""
        check(self.body)
        sources = await read_sources(self._admin, self.body)
        await self._volumes.make(sources)
        image = self._engine.image(container["image"])
        namespace = self.body["metadata"]["namespace"]
        links = {}
        if self.body["spec"].get("enableServiceLinks", True):
            links = service_links(await read_services(self._admin, namespace))
        known = {**self.body, "status": {"podIP": self._address.ip, "hostIP": "127.0.0.1"}}
        return container_spec(
            self.body,
            container,
            image,
            resolve(known, container, sources, links | _kubernetes(self._admin.server)),
            volume=self._volumes.path,
            address=self._address,
            log=self.log(container["name"]),
            hosts=self._network.hosts,
            network_file=self._network_file,
        )

    async def _refresh_forever(self) -> None:
        """Bring changed Secrets and fresh tokens into the volumes while the Pod runs."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            # The next start of a container reports what is missing.
            with contextlib.suppress(CannotStart, aiohttp.ClientError):
                await self._volumes.make(await read_sources(self._admin, self.body))

    async def _write_forever(self) -> None:
        while True:
            await self._write()
            await self._news.wait()
            self._news.clear()

    async def _write(self) -> None:
        states, first = _states(self._main), _states(self._first)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = pod_status(self.body, states, first, self._address.ip, now)
        if status != self._written:
            answer = await self._admin.answer("PATCH", f"{self.path}/status", {"status": status})
            if answer.status == 404:
                return
            if answer.status >= 400:
                raise Refused(f"the status of Pod {self.name}", answer)
            self._written = status
            self.body["status"] = answer.body["status"]


async def _remove(admin: Administrator, body: Body) -> None:
    """Remove the object. It is no error if it is gone, or another Pod has its name."""
    metadata = body["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
    answer = await admin.answer("DELETE", path, options)
    if answer.status not in (200, 404, 409):
        raise Refused(f"the deletion of Pod {metadata['namespace']}/{metadata['name']}", answer)


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    """Wait until one of them ends; raise its error if it failed."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _states(containers: Iterable[Container]) -> dict[str, ContainerState]:
    return {container.state.name: container.state for container in containers}


def _kubernetes(server: str) -> dict[str, str]:
    """Where programs in a Pod find the API server."""
    host, _, port = server.rpartition("//")[2].rpartition(":")
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "KUBERNETES_SERVICE_PORT_HTTPS": port,
        "KUBERNETES_PORT": f"tcp://{host}:{port}",
    }
