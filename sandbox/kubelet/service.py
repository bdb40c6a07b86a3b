"""Plays kube-proxy: forwards connections to the ready Pods of a Service, or to the API server, in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp

from sandbox.administrator import Administrator
from sandbox.errors import ClusterError
from sandbox.kubelet.network import HOST, Network

Body = dict[str, Any]

_CHUNK = 1 << 16


class Forwarder:
    """A TCP forwarder. At each connection it asks `behind` for the ports of this machine to choose from, in turn."""

    def __init__(self, behind: Callable[[], Awaitable[Sequence[int]]]) -> None:
        self.behind = behind
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, port: int, host: str = HOST) -> None:
        """Listen on a port of loopback."""
        self._server = await asyncio.start_server(self._accept, host, port)

    async def close(self) -> None:
        """Stop listening, and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio reports the end of its own as an error.
        task = asyncio.create_task(self._forward(reader, writer), name="connection to a Service")
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        # Also where the task is cancelled before it begins.
        task.add_done_callback(lambda _task: writer.close())

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports: Sequence[int] = ()
        # Where the API server is away, the Service is away: the client sees a connection that ends.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ClusterError):
            ports = await self.behind()
        if ports:
            self._turn += 1
            await _join(reader, writer, ports[self._turn % len(ports)])


class ServiceEndpoints:
    """Finds the ports of this machine behind the ready Pods of one port of a Service, by its EndpointSlices."""

    def __init__(self, admin: Administrator, network: Network, namespace: str, name: str, port: str) -> None:
        self._admin = admin
        self._network = network
        self._path = (
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
            f"?labelSelector=kubernetes.io/service-name%3D{name}"
        )
        self._port = port

    async def __call__(self) -> list[int]:
        """The ports, sorted."""
        slices: list[Body] = (await self._admin.call("GET", self._path))["items"]
        found = set()
        for entry in slices:
            numbers = [port["port"] for port in entry.get("ports") or () if port.get("name", "") == self._port]
            for endpoint in entry.get("endpoints") or ():
                if endpoint.get("conditions", {}).get("ready"):
                    found |= {self._network.real_port(ip, n) for ip in endpoint["addresses"] for n in numbers}
        return sorted(port for port in found if port is not None)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        behind_reader, behind_writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return
    try:
        there = asyncio.create_task(_copy(reader, behind_writer))
        back = asyncio.create_task(_copy(behind_reader, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
    finally:
        behind_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
