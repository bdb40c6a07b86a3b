"""A Python module in a process of its own, whose standard input and output are its parent's to use, line by line.

`Child` is the parent's side; it starts the module under `launch`, so that it goes when its parent goes. In the module,
`tell` answers and `orders` reads. What comes out is always JSON, one object a line; `send` writes such lines, and `say`
writes any line. `people`, the benchmarks and the tests talk to their processes with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.launch import launched
from sandbox.source import ROOT

Message = dict[str, Any]

_LONGEST_LINE = 16 * 1024 * 1024
_LOG_TAIL = 2000


class ChildEnded(SandboxError):
    """The process has ended, and an answer was still expected of it."""

    def __init__(self, name: str, status: int, log_tail: str) -> None:
        super().__init__(
            f"{name} has ended (status {status})" + (f"; its log ends with:\n{log_tail}" if log_tail else "")
        )
        self.status = status


class Child:
    """`python -m <module> <arguments>`. Its standard error goes to `log`, or nowhere."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        name: str = "",
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name or module
        self._command = (sys.executable, "-m", module, *arguments)
        self._log = log
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process. Raises RuntimeError before the start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    @property
    def started(self) -> bool:
        """Whether there is, or was, a process."""
        return self._process is not None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process. A child is started once: raises RuntimeError for a second time."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} has already been started")
        with contextlib.ExitStack() as files:
            self._process = await asyncio.create_subprocess_exec(
                *launched(self._command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=files.enter_context(self._log.open("ab")) if self._log else asyncio.subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, **self._environment},
                start_new_session=True,
                limit=_LONGEST_LINE,
            )

    async def send(self, message: Message) -> None:
        """Write a JSON line to its standard input."""
        await self.say(json.dumps(message))

    async def say(self, line: str) -> None:
        """Write a line to its standard input. One that has ended does not hear it: its output tells so."""
        stdin = self.process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(f"{line}\n".encode())
            await stdin.drain()

    async def listen(self) -> Message:
        """The next message. Raises ChildEnded if there will be none."""
        stdout = self.process.stdout
        assert stdout is not None
        line = await stdout.readline()
        if not line:
            raise ChildEnded(self.name, await self.process.wait(), self._log_tail())
        message: Message = json.loads(line)
        return message

    def follow(
        self, take: Callable[[Message], Awaitable[None]], ended: Callable[[ChildEnded], Awaitable[None]]
    ) -> None:
        """Hand each message to `take` from now on, and the end to `ended`."""

        async def follow() -> None:
            try:
                while True:
                    await take(await self.listen())
            except ChildEnded as end:
                await ended(end)

        self._following = asyncio.create_task(follow(), name=f"output of {self.name}")

    async def finished(self, timeout_seconds: float) -> bool:
        """Whether it ends by itself within this time; for one that is followed."""
        assert self._following is not None
        done, _ = await asyncio.wait({self._following}, timeout=timeout_seconds)
        return bool(done)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, if it is alive."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    async def end(self, grace_seconds: float = 0.0) -> None:
        """End it: SIGTERM where there is a time of grace, then SIGKILL. Harmless if it has ended or never began."""
        if self._process is None:
            return
        if grace_seconds > 0:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._process.wait()
        self.signal(signal.SIGKILL)
        await self._process.wait()
        if self._following is not None:
            await self._following
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _log_tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:] if self._log else ""


def tell(**message: Any) -> None:
    """In the child: a message to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def order() -> Message | None:
    """In the child: the parent's next message, or None once the parent is gone. It blocks."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


async def lines() -> AsyncIterator[str]:
    """In the child: the lines that the parent writes, until it is gone."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().rstrip("\n")


async def orders() -> AsyncIterator[Message]:
    """In the child: the messages that the parent sends, until it is gone."""
    async for line in lines():
        yield json.loads(line)
