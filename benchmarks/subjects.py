"""The three subjects. For each measurement one of them is started, alone on the stack, and stopped afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.access import Access
from benchmarks.child import BenchmarkChild
from benchmarks.figures import Subject
from benchmarks.floor import Floor
from benchmarks.load import Creator, Generator
from benchmarks.operators import OURS, Tree, operator
from sandbox.endpoints import Endpoints
from sandbox.recipes import bare_environment
from sandbox.stack import Stack


@dataclass(frozen=True)
class Running:
    """A running subject: its process, and the creator of its Matches."""

    pid: int
    creator: Creator


@contextlib.asynccontextmanager
async def running(
    subject: Subject,
    stack: Stack,
    access: Access,
    admin: aiohttp.ClientSession,
    ready: Callable[[str], Awaitable[Any]],
    tree: Tree = OURS,
) -> AsyncIterator[Running]:
    """Start `subject` and end it with the block. `ready` waits for a Match; `tree` has the source of Roomkeeper."""
    logs = stack.endpoints.log_directory
    generator = Generator(access, admin, ready)
    if subject is Subject.ROOMKEEPER:
        environment = {**bare_environment(), **stack.endpoints.operator_env}
        async with operator(stack, environment, tree) as pid:
            yield Running(pid, generator)
        return
    async with _webhooks_taken(stack.endpoints):
        if subject is Subject.FLOOR:
            async with BenchmarkChild("benchmarks.floor", access, logs) as child:
                yield Running(child.process.pid, Floor(child))
        else:
            environment = {"KUBECONFIG": stack.endpoints.operator_env["KUBECONFIG"]}
            async with BenchmarkChild("benchmarks.kopf_operator", access, logs, environment) as child:
                yield Running(child.process.pid, generator)


@contextlib.asynccontextmanager
async def _webhooks_taken(endpoints: Endpoints) -> AsyncIterator[None]:
    """Answer LiveKit's webhooks while the operator does not run, because LiveKit would repeat them for ever."""

    async def take(_request: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    environment = endpoints.operator_env
    port = int(environment["ROOMKEEPER_WEBHOOK_PORT"])
    try:
        await web.TCPSite(runner, environment["ROOMKEEPER_WEBHOOK_HOST"], port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()
