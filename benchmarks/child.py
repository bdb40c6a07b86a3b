"""A child process of the benchmark: a Python module that is told its access on stdin and answers line by line."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.access import Access
from sandbox.launch import launched
from sandbox.source import ROOT

_LONGEST_LINE = 16 * 1024 * 1024
_READY_TIMEOUT_SECONDS = 30.0
_GRACE_SECONDS = 5.0


class ChildFailed(Exception):
    """A child process ended, or said nothing for too long."""


class Child:
    """`python -m <module>`; ready when it has said so. What it logs goes to a file."""

    def __init__(self, module: str, access: Access, logs: Path, environment: dict[str, str] | None = None) -> None:
        self.module = module
        self._access = access
        self._log = logs / f"{module}.log"
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        if self._process is None:
            raise RuntimeError(f"{self.module} was never started")
        return self._process

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launched((sys.executable, "-m", self.module)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self._environment},
                limit=_LONGEST_LINE,
            )
        try:
            await self.say(self._access.to_json())
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
                await self.listen()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def say(self, line: str) -> None:
        """Write one line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def listen(self) -> str:
        """The next line of its stdout."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            status = await self.process.wait()
            text = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ChildFailed(f"{self.module} ended by itself (status {status}); the end of {self._log}:\n{text}")
        return line.decode().rstrip("\n")

    async def _end(self) -> None:
        process = self.process
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_GRACE_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.wait()
