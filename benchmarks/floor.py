"""The floor: a bare loop in a process of its own that makes the unavoidable requests of each Match one after another.

It creates the Match itself (and, in a full cycle, writes the wish that ends it) and continues with the server's
answers, so it needs no watch. It has no queue, no cache and no retry. Protocol: the parent sends the access, then a
message per batch; the child answers each batch with the moments at which it sent the Matches.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

import aiohttp
import uvloop
from livekit.protocol.models import Room as RoomMessage

from benchmarks.access import Access, Body, call, kubernetes_session
from benchmarks.calls import MERGE, UnavoidableCalls, bound_pool
from benchmarks.child import BenchmarkChild, given_access, say_ready
from benchmarks.last_calls import LastCalls
from benchmarks.load import Batch, Sent, Until, in_flight, match_manifest, skip_patch
from controller.api.names import MATCH
from controller.clients.redis.client import Redis
from sandbox.child import orders, tell


class Floor:
    """The parent's side: the child process, as a creator of Matches."""

    def __init__(self, child: BenchmarkChild) -> None:
        self._child = child

    async def run(self, batch: Batch) -> Sent:
        """Let the child make the batch Ready."""
        await self._child.send(asdict(batch))
        sent: Sent = (await self._child.listen())["sent"]
        return sent


class _Loop:
    def __init__(
        self, access: Access, admin: aiohttp.ClientSession, calls: UnavoidableCalls, last_calls: LastCalls
    ) -> None:
        self._url = access.collection(MATCH.plural)
        self._admin = admin
        self._calls = calls
        self._last_calls = last_calls

    async def run(self, batch: Batch) -> Sent:
        sent: Sent = {}

        async def one(number: int) -> None:
            manifest = match_manifest(number)
            sent[manifest["metadata"]["name"]] = time.monotonic_ns()
            # The administrator sends this request and the wish: the operator's ServiceAccount may do neither.
            match = await call(self._admin, "POST", self._url, manifest)
            if batch.until is Until.CREATED:
                return
            room, livekit = await self._make_ready(match)
            if batch.until is Until.DELETED:
                wish = skip_patch(manifest["spec"]["participants"][0]["identity"])
                url = f"{self._url}/{manifest['metadata']['name']}"
                await self._end(await call(self._admin, "PATCH", url, wish, MERGE), room, livekit)

        await in_flight(batch, one)
        return sent

    async def _make_ready(self, match: Body) -> tuple[Body, RoomMessage]:
        """Take the Match from created to Ready; return its Room and the room on LiveKit."""
        calls = self._calls
        await calls.claim(match)
        room = await calls.create_room(match)
        livekit = await calls.create_livekit_room(match, room)
        await calls.write_room_status(room, livekit)
        await calls.create_secret(match, livekit)
        await calls.write_match_status(match, livekit)
        return room, livekit

    async def _end(self, match: Body, room: Body, livekit: RoomMessage) -> None:
        """Take the Match from the wish until it is gone."""
        calls = self._last_calls
        await calls.let_go(match)
        await calls.close_room(room, livekit.name)
        await calls.delete_secret(match)
        await calls.write_match_status(match)
        await calls.delete_match(match)


async def _serve(access: Access) -> None:
    redis = Redis.from_url(access.redis_url)
    async with (
        kubernetes_session(access, access.admin_token) as admin,
        kubernetes_session(access, access.operator_token) as kubernetes,
        aiohttp.ClientSession() as livekit,
    ):
        pool = await bound_pool(access, redis)
        calls = UnavoidableCalls(access, kubernetes, livekit, pool)
        loop = _Loop(access, admin, calls, LastCalls(access, kubernetes, livekit, pool))
        say_ready()
        async for message in orders():
            tell(sent=await loop.run(Batch(**{**message, "until": Until(message["until"])})))
    await redis.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given_access()))
