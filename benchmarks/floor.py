"""The floor: a bare loop in a process of its own that makes the unavoidable calls of each Match one after another.

It creates the Match itself and goes on with the server's answer, so it needs no watch; no queue, no cache, no retry.
Protocol: a line with the access, then a line per batch on stdin; a line per batch on stdout (what was sent when).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict

import aiohttp
import uvloop

from benchmarks.access import Access, call, kubernetes_session
from benchmarks.calls import UnavoidableCalls, bound_pool
from benchmarks.child import Child
from benchmarks.load import Batch, Sent, in_flight, match_manifest
from controller.api.names import MATCH
from controller.clients.redis.client import Redis


class Floor:
    """The parent's side: the child process, as a creator of Matches."""

    def __init__(self, child: Child) -> None:
        self._child = child

    async def run(self, batch: Batch) -> Sent:
        """Let it make the batch Ready."""
        await self._child.say(json.dumps(asdict(batch)))
        sent: Sent = json.loads(await self._child.listen())
        return sent


class _Loop:
    def __init__(self, access: Access, admin: aiohttp.ClientSession, calls: UnavoidableCalls) -> None:
        self._url = access.collection(MATCH.plural)
        self._admin = admin
        self._calls = calls

    async def run(self, batch: Batch) -> Sent:
        sent: Sent = {}

        async def one(number: int) -> None:
            manifest = match_manifest(number)
            sent[manifest["metadata"]["name"]] = time.monotonic_ns()
            # Only this call is the administrator's: the operator's ServiceAccount creates no Matches.
            match = await call(self._admin, "POST", self._url, manifest)
            if not batch.only_create:
                await make_ready(self._calls, match)

        await in_flight(batch, one)
        return sent


async def make_ready(calls: UnavoidableCalls, match: dict[str, object]) -> None:
    """From created to Ready."""
    await calls.claim(match)
    room = await calls.create_room(match)
    livekit = await calls.create_livekit_room(match, room)
    await calls.write_room_status(room, livekit)
    await calls.create_secret(match, livekit)
    await calls.write_match_status(match, livekit)


async def _serve(access: Access) -> None:
    redis = Redis.from_url(access.redis_url)
    async with (
        kubernetes_session(access, access.admin_token) as admin,
        kubernetes_session(access, access.operator_token) as kubernetes,
        aiohttp.ClientSession() as livekit,
    ):
        calls = UnavoidableCalls(access, kubernetes, livekit, await bound_pool(access, redis))
        loop = _Loop(access, admin, calls)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await loop.run(Batch(**json.loads(line)))), flush=True)
    await redis.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Access.from_json(sys.stdin.readline())))
