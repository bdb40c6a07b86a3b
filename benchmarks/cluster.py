"""The harness's own requests, as administrator: make the namespace, count API writes, clean up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import aiohttp
import redis.asyncio as aioredis

from benchmarks.access import Access, Body, CallFailed, call
from benchmarks.load import match_manifest
from controller.api.names import GROUP, MANAGED_LABEL, MATCH, ROOM
from controller.clients.livekit import LiveKitClient
from controller.clients.redis.keys import Keys
from controller.clock import ServerClock
from controller.errors import NotFound

_MERGE = "application/merge-patch+json"
_AT_ONCE = 16
_PATIENCE_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 0.05
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_COUNTED = frozenset(
    {(GROUP, "matches"), (GROUP, "rooms"), ("", "secrets"), ("", "events"), ("events.k8s.io", "events")}
)
_SAMPLE = re.compile(rb"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def count_writes(metrics: bytes) -> int:
    """Count the writes of Matches, Rooms, Secrets and Events in the API server's own metrics, refused ones included."""
    total = 0.0
    for labels, value in _SAMPLE.findall(metrics):
        sample = dict(_LABEL.findall(labels.decode()))
        if sample["verb"] in _WRITES and (sample["group"], sample["resource"]) in _COUNTED:
            total += float(value)
    return round(total)


class LeftBehind(Exception):
    """Matches are gone, but something that belonged to them is not."""


class Harness:
    """Requests that belong to no subject."""

    def __init__(self, access: Access, admin: aiohttp.ClientSession, livekit: aiohttp.ClientSession) -> None:
        self._access = access
        self._admin = admin
        self._livekit = LiveKitClient(
            livekit, access.livekit_http_url, access.livekit_api_key, access.livekit_api_secret, ServerClock()
        )

    async def create_namespace(self) -> None:
        """Create the benchmark's namespace, unless it exists. The API server adds the finalizer to Matches there."""
        url = f"{self._access.server}/api/v1/namespaces/{self._access.namespace}"
        async with self._admin.get(url) as response:
            if response.status == 200:
                return
        metadata = {"name": self._access.namespace, "labels": {MANAGED_LABEL: "true"}}
        await call(self._admin, "POST", f"{self._access.server}/api/v1/namespaces", {"metadata": metadata})
        await self._until_matches_are_taken()

    async def api_writes(self) -> int:
        """Return how many writes the API server has counted so far."""
        async with self._admin.get(f"{self._access.server}/metrics") as response:
            return count_writes(await response.read())

    async def clean(self) -> None:
        """Delete what the last subject left, and wait until it is gone: in Kubernetes, LiveKit and Redis.

        The subject no longer runs. Only the harness removes finalizers, so this costs the same for all subjects.
        """
        collections = [self._access.collection(MATCH.plural), self._access.collection(ROOM.plural)]
        everything = [*collections, self._access.core("secrets"), self._access.core("events")]
        for url in everything:
            await call(self._admin, "DELETE", url)
        for url in collections:
            await self._strip_finalizers(url)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for url in everything:
                await _until_empty(self._admin, url)
        await self._close_rooms()
        client = aioredis.Redis.from_url(self._access.redis_url)
        try:
            await client.flushdb()
        finally:
            await client.aclose()

    async def expect_nothing_left(self) -> None:
        """Check that the deleted Matches left nothing behind. Raises LeftBehind."""
        left = {
            url.rpartition("/")[2]: len((await call(self._admin, "GET", url))["items"])
            for url in (self._access.collection(ROOM.plural), self._access.core("secrets"))
        }
        left["LiveKit rooms"] = len(await self._livekit.list_rooms())
        client = aioredis.Redis.from_url(self._access.redis_url)
        try:
            left["Matches that hold users"] = await client.zcard(
                Keys(self._access.cluster_id, self._access.namespace).live()
            )
        finally:
            await client.aclose()
        if any(left.values()):
            found = ", ".join(f"{number} {what}" for what, number in left.items() if number)
            raise LeftBehind(f"the Matches are gone, but they left: {found}")

    async def _until_matches_are_taken(self) -> None:
        """Wait until the API server accepts a Match: right after the CRDs, the admission policy refuses every one."""
        url = f"{self._access.collection(MATCH.plural)}?dryRun=All"
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                async with self._admin.post(url, json=match_manifest(0)) as response:
                    if response.status == 201:
                        return
                    answer = await response.text()
                if response.status != 503:
                    raise CallFailed(f"POST {url}: {response.status} {answer[:300]}")
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _strip_finalizers(self, url: str) -> None:
        items: list[Body] = (await call(self._admin, "GET", url))["items"]

        async def strip(item: Body) -> None:
            try:
                patch = {"metadata": {"finalizers": None}}
                await call(self._admin, "PATCH", f"{url}/{item['metadata']['name']}", patch, _MERGE)
            except CallFailed as failure:
                if " 404 " not in str(failure):
                    raise

        await _side_by_side(strip, (item for item in items if item["metadata"].get("finalizers")))

    async def _close_rooms(self) -> None:
        async def close(name: str) -> None:
            try:
                await self._livekit.delete_room(name)
            except NotFound:
                return

        while rooms := await self._livekit.list_rooms():
            await _side_by_side(close, (room.name for room in rooms))


async def _until_empty(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        if not (await call(session, "GET", f"{url}?limit=1"))["items"]:
            return
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _side_by_side(one: Callable[[Any], Awaitable[None]], things: Iterable[Any]) -> None:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def limited(thing: Any) -> None:
        async with limit:
            await one(thing)

    await asyncio.gather(*(limited(thing) for thing in things))
