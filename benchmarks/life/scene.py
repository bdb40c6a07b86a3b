"""What one measurement needs: the operator with its own settings, a process that observes, and access to all parts.

With a `tap` the operator listens on another port, and the tap receives LiveKit's webhooks first.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp

from benchmarks.access import Access
from benchmarks.life.sight import Sight
from benchmarks.life.tap import Tap, Webhooks
from benchmarks.operators import operator
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from sandbox.ports import PortLocks
from sandbox.recipes import bare_environment
from sandbox.stack import Stack


@dataclass(frozen=True)
class Scene:
    """All that a measurement works with. `scene` closes it."""

    access: Access
    admin: aiohttp.ClientSession
    gateway: Gateway
    sight: Sight
    webhooks: Webhooks
    tap: Tap | None
    operator_pid: int

    @property
    def tapped(self) -> Tap:
        """Return the tap of a measurement that asked for one."""
        assert self.tap is not None, "this measurement asked for no tap"
        return self.tap


@contextlib.asynccontextmanager
async def scene(
    stack: Stack,
    access: Access,
    admin: aiohttp.ClientSession,
    *,
    tapped: bool = False,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Scene]:
    """Start the operator and the processes that watch it; stop them at the end of the block."""
    endpoints, ports = stack.endpoints, PortLocks()
    environment = {**bare_environment(), **endpoints.operator_env, **(settings or {})}
    if tapped:
        environment["ROOMKEEPER_WEBHOOK_PORT"] = str(ports.take())
    onward = f"http://127.0.0.1:{environment['ROOMKEEPER_WEBHOOK_PORT']}/livekit/webhook"
    redis = Redis.from_url(endpoints.redis_url)
    async with contextlib.AsyncExitStack() as exits:
        exits.callback(ports.release)
        exits.push_async_callback(redis.close)
        http = await exits.enter_async_context(aiohttp.ClientSession())
        pid = await exits.enter_async_context(operator(stack, environment))
        tap = await exits.enter_async_context(Tap(http, endpoints.webhook_url, onward)) if tapped else None
        sight = await exits.enter_async_context(Sight(access, endpoints.log_directory))
        gateway = Gateway(redis, Keys(access.cluster_id, access.namespace))
        yield Scene(access, admin, gateway, sight, Webhooks(access, http, onward), tap, pid)
