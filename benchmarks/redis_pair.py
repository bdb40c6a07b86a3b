"""A Redis with a replica behind one address, as managed servers have it: the address follows the master.

`Switch` is the address: a TCP proxy that leads to one port at a time, as the Service of an operator of Redis or the
name of a managed Redis does. `Pair` is the two servers. Neighbors: `failover` measures with them, and so does a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from redis import exceptions

from controller.clients.redis.target import Target, fixed
from controller.clients.redis.wire import Wire
from controller.settings.redis_address import Access, Node
from sandbox.launch import launched
from sandbox.ports import PortLocks
from sandbox.source import ROOT

HOST: Final = "127.0.0.1"
_PATIENCE_SECONDS: Final = 60.0


class Failover(StrEnum):
    """How the master changes."""

    KILLED = "killed"
    """The master dies; the replica is promoted, and the address leads there. Connections end."""
    DEMOTED = "demoted"
    """The replica is promoted, and the address leads there; the old master becomes a replica and keeps its clients."""
    FROZEN = "frozen"
    """The master no longer answers, and its connections stay; the replica is promoted, and the address leads there."""


class Switch:
    """The address. Connections that are open stay with their server when it leads to another one."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                far_reader, far_writer = await asyncio.open_connection(HOST, self.target)
                try:
                    await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
                finally:
                    far_writer.transport.abort()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class Pair:
    """A master and its replica, on two ports that stay. `async with Pair(program, folder) as pair`."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._locks = PortLocks()
        self.master, self.replica = self._locks.take(), self._locks.take()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._frozen = 0

    async def __aenter__(self) -> Self:
        for port in (self.master, self.replica):
            await self._start(port)
        await self._follow(self.replica, self.master)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for port in tuple(self._processes):
            await self._kill(port)
        self._locks.release()

    async def fail_over(self, how: Failover, switch: Switch) -> None:
        """Promote the replica and let the address lead to it. The caller repairs the pair later."""
        if how is Failover.KILLED:
            await self._kill(self.master)
        elif how is Failover.FROZEN:
            self._processes[self.master].send_signal(signal.SIGSTOP)
            self._frozen = self.master
        await self.ask(self.replica, "REPLICAOF", "NO", "ONE")
        switch.target = self.replica
        self.master, self.replica = self.replica, self.master
        if how is Failover.DEMOTED:
            await self.ask(self.replica, "REPLICAOF", HOST, self.master)

    async def repair(self) -> None:
        """Make the old master a replica that is up to date."""
        if self._frozen:
            await self._kill(self._frozen)
            self._frozen = 0
        if self.replica not in self._processes:
            await self._start(self.replica)
        await self._follow(self.replica, self.master)

    async def ask(self, port: int, *words: str | int) -> str:
        """Send one command to one of them."""
        wire = Wire(fixed(Target(Node(HOST, port), Access())), timeout_seconds=5.0)
        try:
            return str(await wire.execute(*words))
        finally:
            await wire.close()

    async def _start(self, port: int) -> None:
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        words = (
            *(str(self._program), "--bind", HOST, "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"),
        )
        self._processes[port] = await asyncio.create_subprocess_exec(
            *launched(words), cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await self._until(port, "PING", "PONG")

    async def _kill(self, port: int) -> None:
        process = self._processes.pop(port)
        process.kill()
        await process.wait()

    async def _follow(self, port: int, master: int) -> None:
        await self.ask(port, "REPLICAOF", HOST, master)
        await self._until(port, "ROLE", "'connected'")

    async def _until(self, port: int, command: str, answer: str) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(exceptions.RedisError):
                    if answer in await self.ask(port, command):
                        return
                await asyncio.sleep(0.02)
