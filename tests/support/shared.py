"""One stack for all pytest-xdist workers of a session, started by the first of them that needs it.

Every user holds a shared lock. The worker that started the stack stops it when it gets the lock for itself alone, so it
waits for the others. A worker that needs a stack while the old one stops starts another one. The kernel ends the
programs with the worker that started them, so an interrupted or killed session leaves nothing behind either.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from sandbox.endpoints import Endpoints, load_endpoints
from sandbox.errors import NotRunningError
from sandbox.stack import Stack, StackOptions

_POLL_SECONDS = 0.02


def session_directory(factory: pytest.TempPathFactory, config: pytest.Config) -> Path:
    """Return a directory that all workers of this session share."""
    base = factory.getbasetemp()
    return base.parent if hasattr(config, "workerinput") else base


@asynccontextmanager
async def shared_stack(directory: Path, options: StackOptions) -> AsyncIterator[Endpoints]:
    """Use the stack in `directory`; start it if no other worker has done so."""
    stack: Stack | None = None
    with _lock_file(directory, "starting") as starting, _lock_file(directory, "users") as users:
        await _lock(starting, fcntl.LOCK_EX)
        await _lock(users, fcntl.LOCK_SH)
        try:
            endpoints = load_endpoints(directory)
        except NotRunningError:
            stack = Stack(replace(options, directory=directory))
            await stack.start()
            endpoints = stack.endpoints
        fcntl.flock(starting, fcntl.LOCK_UN)
        try:
            yield endpoints
        finally:
            if stack is not None:
                await _lock(users, fcntl.LOCK_EX)
                await stack.__aexit__(None, None, None)


def _lock_file(directory: Path, name: str) -> BinaryIO:
    return directory.with_name(f"{directory.name}.{name}").open("ab")


async def _lock(file: BinaryIO, kind: int) -> None:
    # A blocking lock would ignore Ctrl-C.
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return
