"""Plays kube-proxy for one port of one Service: connections go to its ready Pods in turn."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from sandbox.administrator import Administrator
from sandbox.kubelet.network import HOST, Network

Body = dict[str, Any]

_CHUNK = 1 << 16


class ServiceProxy:
    """A TCP forwarder. It asks the API server for the Service's EndpointSlices at each connection."""

    def __init__(self, admin: Administrator, network: Network, namespace: str, name: str, port: str) -> None:
        self._admin = admin
        self._network = network
        self._path = (
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
            f"?labelSelector=kubernetes.io/service-name%3D{name}"
        )
        self._port = port
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        """Listen on a port of loopback."""
        self._server = await asyncio.start_server(self._forward, HOST, port)

    async def close(self) -> None:
        """Stop listening, and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def endpoints(self) -> list[int]:
        """The ports of this machine behind the Service's ready Pods."""
        slices: list[Body] = (await self._admin.call("GET", self._path))["items"]
        found = set()
        for entry in slices:
            numbers = [port["port"] for port in entry.get("ports") or () if port.get("name", "") == self._port]
            for endpoint in entry.get("endpoints") or ():
                if endpoint.get("conditions", {}).get("ready"):
                    found |= {self._network.real_port(ip, n) for ip in endpoint["addresses"] for n in numbers}
        return sorted(port for port in found if port is not None)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            ports = await self.endpoints()
            if ports:
                self._turn += 1
                await _join(reader, writer, ports[self._turn % len(ports)])
        finally:
            self._open.discard(task)
            writer.close()


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
