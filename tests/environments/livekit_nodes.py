"""LiveKit as it is run in production: nodes that share a Redis, and a balancer that gives them one address.

`async with LiveKitNodes(where, folder, count=2) as nodes` starts them beside the LiveKit of a stack, with the stack's
Redis and its API key. The address for operator and participants is `nodes.url`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import yaml

from sandbox.directory import Directory
from sandbox.endpoints import Endpoints
from sandbox.errors import ProgramError
from sandbox.parts import locate
from sandbox.ports import PortLocks
from sandbox.program import Program, Recipe
from sandbox.recipes import HOST, bare_environment

# The databases of the stack's Redis that Roomkeeper does not use.
_DATABASES = itertools.cycle(range(1, 16))
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)


class LiveKitNodes:
    """Nodes of LiveKit with one Redis. At first only the first one runs, so that all rooms are on it.

    `keys` are API keys with their secrets; webhooks are signed with the first.
    `settings` are added to the configuration: `room={"auto_create": True}`.
    """

    def __init__(
        self,
        where: Endpoints,
        folder: Path,
        count: int = 1,
        *,
        keys: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.keys = dict(keys or {where.livekit_api_key: where.livekit_api_secret})
        self._where = where
        self._count = count
        self._directory = Directory(folder / "livekit")
        self._ports = PortLocks()
        self._settings = settings
        self._nodes: list[Program] = []
        self._addresses: list[int] = []
        self._media = [(self._ports.take(), self._ports.take()) for _ in range(count)]
        self._database = next(_DATABASES)
        self.balancer = Balancer(self._ports.take())

    @property
    def url(self) -> str:
        """The one address of all nodes."""
        return f"ws://{HOST}:{self.balancer.port}"

    @property
    def where(self) -> Endpoints:
        """The stack with these nodes in the place of its own LiveKit."""
        return replace(self._where, livekit_url=self.url)

    async def __aenter__(self) -> Self:
        self._directory.take()
        for number in range(self._count):
            port = self._ports.take()
            self._addresses.append(port)
            self._nodes.append(Program(self._recipe(number, port), self._directory, _on_death))
        self.write_settings()
        await self._nodes[0].start()
        await self.balancer.start(self._addresses)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.balancer.stop()
        for node in self._nodes:
            await node.kill()
        self._directory.release()
        self._ports.release()

    async def kill(self, number: int = 0) -> None:
        """Send SIGKILL to a node."""
        await self._nodes[number].kill()

    async def terminate(self, number: int = 0) -> None:
        """Send SIGTERM to a node, and wait until it ends by itself: with people in its rooms it does not."""
        await self._nodes[number].terminate()

    async def start(self, number: int = 0) -> None:
        """Start a node that does not run."""
        await self._nodes[number].start()

    def only(self, *numbers: int) -> None:
        """New connections go to these nodes alone; without numbers, to all."""
        self.balancer.targets = [self._addresses[n] for n in numbers or range(self._count)]

    def write_settings(self, *, webhook_key: str | None = None) -> None:
        """Write the configuration of all nodes, which each of them reads at its next start."""
        redis = urlsplit(self._where.redis_url)
        for number, port in enumerate(self._addresses):
            settings: dict[str, Any] = {
                "port": port,
                "bind_addresses": [HOST],
                "rtc": {
                    "tcp_port": self._media[number][0],
                    "udp_port": self._media[number][1],
                    "use_external_ip": False,
                    "node_ip": HOST,
                    "enable_loopback_candidate": True,
                },
                "redis": {"address": f"{redis.hostname}:{redis.port}", "db": self._database},
                "keys": self.keys,
                "room": {"auto_create": False, "empty_timeout": 300, "departure_timeout": 20},
                "webhook": {"api_key": webhook_key or next(iter(self.keys)), "urls": [self._where.webhook_url]},
                "logging": {"level": "warn"},
            }
            for name, value in self._settings.items():
                settings[name] = {**settings.get(name, {}), **value}
            self._directory.write_secret(f"config/{number}.yaml", yaml.safe_dump(settings, sort_keys=False))

    def _recipe(self, number: int, port: int) -> Recipe:
        async def ready() -> bool:
            try:
                async with (
                    aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session,
                    session.get(f"http://{HOST}:{port}/") as answer,
                ):
                    return answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        return Recipe(
            name=f"livekit-{number}",
            command=(
                str(locate("livekit-server").path),
                *("--config", str(self._directory.path / f"config/{number}.yaml")),
            ),
            ready=ready,
            where=f"ws://{HOST}:{port}",
            environment=bare_environment(),
            directory=self._directory.path,
        )


class Balancer:
    """A TCP balancer: each connection goes to the next of `targets` that accepts it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.targets: list[int] = []
        self._turn = itertools.count()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, targets: list[int]) -> None:
        """Listen, and pass connections on to these ports."""
        self.targets = list(targets)
        self._server = await asyncio.start_server(self._take, HOST, self.port)

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            upstream = await self._connect()
            if upstream is not None:
                await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        turn = next(self._turn)
        for offset in range(len(self.targets)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(HOST, self.targets[(turn + offset) % len(self.targets)])
        return None


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


def _on_death(failure: ProgramError) -> None:
    raise failure
