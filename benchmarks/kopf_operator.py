"""The operator that kopf's documentation suggests: a change handler that sends requests and fills in `patch.status`.

Its finalizer (there is a deletion handler) and its last-handled annotation are kopf's defaults. Events are off, because
they would be two more writes per Match. The handler sends the floor's requests, one after another, with the same simple
clients, so the difference is that of the framework. It runs clusterwide on uvloop, as the operator's ServiceAccount.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import kopf
import uvloop

from benchmarks.access import Access, kubernetes_session
from benchmarks.calls import UnavoidableCalls, bound_pool
from benchmarks.child import given_access, say_ready
from benchmarks.statuses import match_status
from controller.api.names import GROUP, MATCH, VERSION
from controller.clients.redis.client import Redis


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Set what the ServiceAccount's rights require, and no Events. All else is kopf's default."""
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False


@kopf.on.create(GROUP, VERSION, MATCH.plural)
async def create(body: kopf.Body, patch: kopf.Patch, memo: kopf.Memo, **_: Any) -> None:
    """Make the Match Ready."""
    calls: UnavoidableCalls = memo.calls
    match = dict(body)
    await calls.claim(match)
    room = await calls.create_room(match)
    livekit = await calls.create_livekit_room(match, room)
    await calls.write_room_status(room, livekit)
    await calls.create_secret(match, livekit)
    patch.status.update(match_status(memo.access, match, livekit))


@kopf.on.delete(GROUP, VERSION, MATCH.plural)
async def delete(**_: Any) -> None:
    """Do nothing. Because this handler exists, kopf puts its finalizer on every Match; deletions are not measured."""


@kopf.on.login()
def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Log in with the kubeconfig of the operator's ServiceAccount."""
    return kopf.login_with_kubeconfig(**kwargs)


async def _serve(access: Access) -> None:
    kopf.configure()
    redis = Redis.from_url(access.redis_url)
    ready = asyncio.Event()
    async with (
        kubernetes_session(access, access.operator_token) as kubernetes,
        aiohttp.ClientSession() as livekit,
    ):
        calls = UnavoidableCalls(access, kubernetes, livekit, await bound_pool(access, redis))
        telling = asyncio.create_task(_tell(ready))
        await kopf.operator(clusterwide=True, ready_flag=ready, memo=kopf.Memo(calls=calls, access=access))
        telling.cancel()
    await redis.close()


async def _tell(ready: asyncio.Event) -> None:
    await ready.wait()
    say_ready()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given_access()))
