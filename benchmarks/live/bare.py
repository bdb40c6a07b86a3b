"""What a start and a poll are compared with: the LIST of all Matches and Rooms, and the operator's own poll, alone."""

from __future__ import annotations

import time
from urllib.parse import quote

import aiohttp

from benchmarks.access import Access, call
from benchmarks.polling import a_poller
from controller.api.names import API_VERSION, MATCH, ROOM
from controller.clients.livekit import LiveKitClient

_PAGE = 500
_POLLS = 5


async def list_seconds(access: Access, session: aiohttp.ClientSession) -> float:
    """Read all Matches and Rooms in pages, as the operator does, and decode their JSON; return how long that took."""
    began = time.monotonic()
    for kind in (MATCH, ROOM):
        url, token = f"{access.server}/apis/{API_VERSION}/{kind.plural}?limit={_PAGE}", ""
        while True:
            page = await call(session, "GET", f"{url}&continue={quote(token)}" if token else url)
            token = page["metadata"].get("continue") or ""
            if not token:
                break
    return time.monotonic() - began


async def poll_cpu_ms(client: LiveKitClient, cluster_id: str) -> float:
    """The CPU time of one list of LiveKit's rooms, in which nothing is new: the lowest of a few, after the first two.

    The operator's poller reads it, in this process.
    """
    poller = a_poller(client, "default", "", cluster_id)
    found = []
    for _ in range(2 + _POLLS):
        began = time.thread_time()
        await poller.poll()
        found.append(1000 * (time.thread_time() - began))
    return min(found[2:])
