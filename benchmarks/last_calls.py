"""The requests that every way of ending a Match needs, from the wish in its spec until it is gone.

Release the users, close the Room and the LiveKit room, delete the Secret, write the status Ended, delete the Match:
`floor` makes these requests one after another. The operator's own scripts release the users. Neighbor: `calls`.
"""

from __future__ import annotations

import time

import aiohttp
from livekit.protocol.room import DeleteRoomRequest

from benchmarks.access import Access, Body, CallFailed, call
from benchmarks.calls import MERGE, RoomService, write_status
from benchmarks.statuses import ended_status
from controller.api.names import MATCH, ROOM, token_secret_name
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import AdvanceOk, SettleOk
from controller.clients.redis.requests import AdvanceRequest, SettleRequest
from controller.facts.ledger import Cause, Destination, Release

_NO_FINALIZERS: Body = {"metadata": {"finalizers": None}}


class LastCalls:
    """One method per step. The caller owns the sessions and the pool."""

    def __init__(
        self, access: Access, kubernetes: aiohttp.ClientSession, livekit: aiohttp.ClientSession, pool: Pool
    ) -> None:
        self._access = access
        self._kubernetes = kubernetes
        self._pool = pool
        self._room_service = RoomService(access, livekit)

    async def let_go(self, match: Body) -> None:
        """Release both users: they are DISCONNECTING, then settled."""
        uid, now_ms = match["metadata"]["uid"], int(time.time() * 1000)
        identities = [person["identity"] for person in match["spec"]["participants"]]
        leaving = tuple((identity, UserState.DISCONNECTING) for identity in identities)
        moved = await self._pool.advance(
            AdvanceRequest(uid, leaving, phase=MatchPhase.TERMINATING.value, session_id=uid), now_ms=now_ms
        )
        users = tuple(Release(identity, Destination.WAITING) for identity in identities)
        cause = Cause("Skipped", identities[0], f"{identities[0]} skipped to the next person", "")
        settled = await self._pool.settle(SettleRequest(uid, uid, users, cause), now_ms=now_ms)
        if not isinstance(moved, AdvanceOk) or not isinstance(settled, SettleOk):
            raise CallFailed(f"the users of {match['metadata']['name']} stay: {moved}, {settled}")

    async def close_room(self, room: Body, livekit_name: str) -> None:
        """Delete the Room, close it on LiveKit, and remove its finalizer."""
        collection = self._access.collection(ROOM.plural)
        await self._delete(collection, room)
        await self._room_service.call("DeleteRoom", DeleteRoomRequest(room=livekit_name))
        await self._release(collection, room)

    async def delete_secret(self, match: Body) -> None:
        """Delete the Secret with the tokens."""
        name = token_secret_name(match["metadata"]["uid"])
        await call(self._kubernetes, "DELETE", f"{self._access.core('secrets')}/{name}")

    async def write_match_status(self, match: Body) -> None:
        """Write the status of a Match that is over."""
        await write_status(self._kubernetes, self._access.collection(MATCH.plural), match, ended_status(match))

    async def delete_match(self, match: Body) -> None:
        """Delete the Match and remove its finalizer."""
        collection = self._access.collection(MATCH.plural)
        await self._delete(collection, match)
        await self._release(collection, match)

    async def _delete(self, collection: str, found: Body) -> None:
        metadata = found["metadata"]
        options = {"preconditions": {"uid": metadata["uid"]}}
        await call(self._kubernetes, "DELETE", f"{collection}/{metadata['name']}", options)

    async def _release(self, collection: str, found: Body) -> None:
        await call(self._kubernetes, "PATCH", f"{collection}/{found['metadata']['name']}", _NO_FINALIZERS, MERGE)
