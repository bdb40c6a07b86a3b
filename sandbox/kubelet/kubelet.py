"""The node of a sandbox: every Pod of the cluster is bound to it, and run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from sandbox.administrator import MERGE_PATCH, Administrator, Refused
from sandbox.endpoints import Endpoints
from sandbox.kubelet.logs import LogServer
from sandbox.kubelet.network import Network
from sandbox.kubelet.pod import Pod
from sandbox.kubelet.runtime import Runtime
from sandbox.kubelet.service import Forwarder, ServiceEndpoints

Body = dict[str, Any]

NODE: Final = "sandbox"
_PODS: Final = "/api/v1/pods"
_RETRY_SECONDS: Final = 0.2


class Kubelet:
    """Runs all Pods within `async with`; at its end their containers are killed, and the objects stay."""

    node: Final = NODE
    """The name of the node."""

    def __init__(self, where: Endpoints, engine: Runtime, directory: Path) -> None:
        """`directory` is for volumes and logs."""
        self.network = Network()
        self._where = where
        self._engine = engine
        self._directory = directory
        self._logs = directory / "logs"
        self._pods: dict[str, Pod] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._api: Forwarder | None = None

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._admin = Administrator.of(self._where)
        self._log_server = LogServer(self._where.directory, self.log)
        await self._log_server.start()
        if self._engine.finds_api_server_by_name:
            await self._serve_api()
        await self._register()
        self._watching = asyncio.create_task(self._watch_forever(), name="watch Pods")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [self._watching, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._api is not None:
            await self._api.close()
        await self._log_server.close()
        await self._admin.close()
        self.network.release()
        if error is None:
            self.check()

    def log(self, namespace: str, pod: str, container: str) -> Path:
        """The log of a container; it outlives the Pod."""
        return self._logs / f"{namespace}_{pod}_{container}.log"

    def logs(self, namespace: str, start: str = "") -> str:
        """The logs of all containers whose Pods have been in a namespace, and whose names begin with `start`."""
        files = sorted(self._logs.glob(f"{namespace}_{start}*.log"))
        return "".join(f"==> {file.stem}\n{file.read_text(errors='replace')}" for file in files)

    @contextlib.asynccontextmanager
    async def serving(
        self, namespace: str, name: str, port: str, listen: int | None = None
    ) -> AsyncIterator[Forwarder]:
        """Play kube-proxy for the port `port` of a Service: programs in Pods reach it by the Service's names.

        `listen` is the port of this machine that leads to the Service as well; any free one if it is not given.
        """
        service = await self._admin.call("GET", f"/api/v1/namespaces/{namespace}/services/{name}")
        number = next(int(entry["port"]) for entry in service["spec"]["ports"] if entry.get("name", "") == port)
        real = self.network.add_service(name, namespace, service["spec"]["clusterIP"], number, listen)
        proxy = Forwarder(ServiceEndpoints(self._admin, self.network, namespace, name, port))
        await proxy.start(real)
        try:
            yield proxy
        finally:
            await proxy.close()

    def check(self) -> None:
        """Raise what a part of the kubelet itself has failed with: a Pod would only seem not to start."""
        if self._failure is not None:
            raise self._failure

    async def _serve_api(self) -> None:
        """Let programs reach the API server as in a cluster: by its name, on the port of HTTPS."""
        port = urlsplit(self._where.server).port
        assert port is not None

        async def behind() -> list[int]:
            return [port]

        self._api = Forwarder(behind)
        await self._api.start(443, self.network.api_address)

    async def _register(self) -> None:
        address = {"type": "InternalIP", "address": "127.0.0.1"}
        node: Body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        node["metadata"]["labels"] = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}
        with contextlib.suppress(Refused):  # a kubelet before this one has registered it
            await self._admin.call("POST", "/api/v1/nodes", node)
        status = {
            "addresses": [address],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "250"},
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "250"},
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._log_server.port}},
        }
        path = f"/api/v1/nodes/{NODE}"
        await self._admin.call("PATCH", f"{path}/status", {"status": status}, content_type=MERGE_PATCH)
        await self._admin.call("PATCH", path, {"spec": {"taints": None}})

    async def _watch_forever(self) -> None:
        while True:
            try:
                await self._watch()
            except (aiohttp.ClientError, OSError, Refused):
                # The API server is away, or the watch is too old: look at everything again.
                await asyncio.sleep(_RETRY_SECONDS)

    async def _watch(self) -> None:
        listed = await self._admin.call("GET", _PODS)
        here = {body["metadata"]["uid"] for body in listed["items"]}
        for uid in set(self._pods) - here:
            self._gone(uid)
        for body in listed["items"]:
            self._see(body)
        version = listed["metadata"]["resourceVersion"]
        async with await self._admin.watch(f"{_PODS}?resourceVersion={version}") as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] == "DELETED":
                    self._gone(event["object"]["metadata"]["uid"])
                else:
                    self._see(event["object"])

    def _see(self, body: Body) -> None:
        uid = body["metadata"]["uid"]
        if uid in self._pods:
            self._pods[uid].update(body)
        elif body.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            pod = Pod(body, self._admin, self._engine, self.network, self._directory / "pods" / uid, self._logs)
            self._pods[uid] = pod
            self._tasks[uid] = asyncio.create_task(self._live(pod), name=f"Pod {pod.name}")

    async def _live(self, pod: Pod) -> None:
        try:
            if not pod.body["spec"].get("nodeName"):
                await self._bind(pod)
            await pod.run()
        except Exception as error:
            self._failure = self._failure or error
            raise

    async def _bind(self, pod: Pod) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        metadata = {"name": pod.body["metadata"]["name"], "uid": pod.body["metadata"]["uid"]}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        answer = await self._admin.answer("POST", f"{pod.path}/binding", binding)
        # 404, 409: it has been deleted meanwhile.
        if answer.status >= 400 and answer.status not in (404, 409):
            raise Refused(f"the binding of Pod {pod.name}", answer)

    def _gone(self, uid: str) -> None:
        """The object is gone, by our own hand or by force: nothing of it may go on."""
        self._pods.pop(uid, None)
        if (task := self._tasks.pop(uid, None)) is not None and not task.done():
            task.cancel()
