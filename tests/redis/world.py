"""One pool as all sides see it: the calls that tests make, and everything that Redis holds of it at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controller.api.match import QueuePlace
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway, Queued
from controller.clients.redis.keys import Keys
from controller.clients.redis.mark import Mark
from controller.clients.redis.pool import Pool
from controller.clients.redis.records import User
from controller.clients.redis.replies.match import ClaimReply, SettleOk, SettleReply
from controller.clients.redis.replies.pool import Written
from controller.clients.redis.requests import (
    Claimant,
    ClaimMode,
    ClaimRequest,
    Served,
    SettleRequest,
)
from controller.facts.ledger import Cause, Destination, Ledger, Release, SettledUser

NOW = 1_700_000_000_000

Value = str | tuple[Any, ...]


@dataclass(frozen=True)
class Snapshot:
    """Every key of a pool but the streams: its value, and whether it expires."""

    values: Mapping[str, Any]
    expiring: frozenset[str]

    def without(self, *suffixes: str) -> Snapshot:
        """The same without some keys, for comparisons that leave them out."""
        kept = {key: value for key, value in self.values.items() if not key.endswith(suffixes)}
        return Snapshot(kept, self.expiring & frozenset(kept))


@dataclass(frozen=True)
class Told:
    """Notices with the user they are for, disconnects, and events."""

    notices: list[tuple[str, dict[str, str]]]
    disconnects: list[dict[str, str]]
    events: list[dict[str, Any]]


@dataclass
class World:
    """The pool `calls`; `raw` sends commands that no typed call has."""

    redis: Redis
    keys: Keys
    pool: Pool
    gateway: Gateway

    @classmethod
    async def new(cls, redis: Redis, namespace: str, *, cluster_id: str = "test") -> World:
        """An empty pool. Nothing is flushed: each has a namespace of its own."""
        keys = Keys(cluster_id, namespace)
        pool = Pool(redis, keys, shard=0, epoch=1)
        world = cls(redis, keys, pool.at(await pool.ensure_incarnation()), Gateway(redis, keys))
        await world.serve()
        return world

    async def raw(self, *words: str | int) -> Any:
        """Any command, past the typed calls."""
        return await self.redis._on(self.keys.prefix, *words)

    async def serve(self) -> None:
        """Serve the pool, as the operator does every minute."""
        assert isinstance(await self.pool.serve(Served("1.0", 30)), Written)

    # People

    async def enqueue(self, user_id: str) -> int:
        """Put a user into the queue. Returns their place."""
        reply = await self.gateway.enqueue(user_id)
        assert isinstance(reply, Queued)
        return reply.score_ms

    async def enqueue_at(self, user_id: str, score_ms: int) -> int:
        """Put a user into the queue at a given place. (The script takes places from the server's clock.)"""
        await self.enqueue(user_id)
        await self.raw("ZADD", self.keys.queue(), score_ms, user_id)
        await self.raw("HSET", self.keys.user(user_id), "queuedAt", score_ms)
        return score_ms

    async def left_long_ago(self, user_id: str) -> None:
        """Move the moment at which a user left the queue a minute back."""
        await self.raw("HINCRBY", self.keys.user(user_id), "leftAt", -60_000)

    async def user(self, user_id: str) -> User:
        """The record of a user, which must exist."""
        user = await self.gateway.user(user_id)
        assert user is not None, f"{user_id} is unknown"
        return user

    async def queue(self) -> dict[str, int]:
        """The users who wait, with their places."""
        return dict(await self.gateway.waiting(limit=1000))

    # Matches

    async def claim(
        self, uid: str, *ids: str, mode: ClaimMode = ClaimMode.ANY, now_ms: int = NOW, **fields: Any
    ) -> ClaimReply:
        """Claim users for a Match whose name is `name-<uid>` and whose session is `session-<uid>`."""
        return await self.pool.claim(claim_request(uid, *ids, mode=mode, **fields), now_ms=now_ms)

    async def settle(
        self,
        uid: str,
        users: Mapping[str, tuple[Destination, QueuePlace]],
        *,
        final: bool = True,
        cause: Cause = Cause("Skipped", "alice", "alice skipped", "{}"),  # noqa: B008 (a frozen value)
        now_ms: int = NOW,
    ) -> SettleReply:
        """Settle users of a Match that `claim` made."""
        settlements = tuple(Release(user_id, decision, place) for user_id, (decision, place) in users.items())
        request = SettleRequest(uid, f"session-{uid}", settlements, cause, final, match_name=f"name-{uid}")
        return await self.pool.settle(request, now_ms=now_ms)

    async def settled(
        self, uid: str, users: Mapping[str, tuple[Destination, QueuePlace]], **more: Any
    ) -> dict[str, SettledUser]:
        """The outcomes of a settle that must succeed."""
        reply = await self.settle(uid, users, **more)
        assert isinstance(reply, SettleOk), reply
        return {user.id: user for user in reply.users}

    async def ledger(self, uid: str) -> Ledger:
        """A ledger that must be there."""
        ledger = await self.pool.ledger(uid)
        assert ledger is not None
        return ledger

    def other_owner(self, **changes: Any) -> World:
        """The same pool with another epoch, shard or incarnation: of a replica that knows nothing of our requests."""
        return replace(self, pool=replace(self.pool, mark=Mark(), **changes))

    # What is told

    async def notices(self, user_id: str) -> list[dict[str, str]]:
        """The notices of one user."""
        return await self._entries(self.keys.notify(user_id))

    async def disconnects(self) -> list[dict[str, str]]:
        """The entries of `disconnects`."""
        return await self._entries(self.keys.disconnects())

    async def events(self) -> list[dict[str, Any]]:
        """All events."""
        return [json.loads(entry["event"]) for entry in await self._entries(self.keys.events())]

    async def hear(self) -> Told:
        """Take everything that was told since the last time; the streams are empty then."""
        notices: list[tuple[str, dict[str, str]]] = []
        told = Told(notices, [], [])
        for key, entries in await self.raw("EVAL", _HEAR, 0, self.keys.prefix):
            name = self.keys.name(key)
            for _, flat in entries:
                fields = dict(zip(flat[::2], flat[1::2], strict=True))
                if name == "events":
                    told.events.append(json.loads(fields["event"]))
                elif name == "disconnects":
                    told.disconnects.append(fields)
                else:
                    notices.append((name.removeprefix("notify:"), fields))
        return told

    async def _entries(self, stream: str) -> list[dict[str, str]]:
        entries = await self.raw("XRANGE", stream, "-", "+")
        return [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]

    # Everything at once

    async def snapshot(self) -> Snapshot:
        """All that Redis holds of this pool. Of a fence only the epoch: every request counts its number up."""
        values: dict[str, Any] = {}
        expiring: set[str] = set()
        dump = await self.raw("EVAL", _DUMP, 0, self.keys.prefix, self.keys.private)
        for key, kind, ttl, content in dump:
            name = self.keys.name(key)
            if kind in {"hash", "zset"}:
                content = dict(zip(content[::2], content[1::2], strict=True))  # noqa: PLW2901
            elif name.startswith("fence:"):
                content = content.partition(":")[0]  # noqa: PLW2901
            values[name] = content
            if ttl > 0:
                expiring.add(name)
        return Snapshot(values, frozenset(expiring))

    async def lose_everything(self) -> None:
        """As FLUSHALL, but for this pool only."""
        for key, *_ in await self.raw("EVAL", _DUMP, 0, self.keys.prefix, self.keys.private):
            await self.raw("DEL", key)


def claim_request(uid: str, *ids: str, **fields: Any) -> ClaimRequest:
    """The request that `World.claim` sends."""
    known: Mapping[str, int | None] = fields.pop("places", {})
    users = tuple(Claimant(user_id, queued_at_ms=known.get(user_id)) for user_id in ids)
    return ClaimRequest(uid, fields.pop("match_name", f"name-{uid}"), f"session-{uid}", users, **fields)


_HEAR = """
local heard = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  if redis.call('TYPE', key).ok == 'stream' and not string.find(key, ':webhooks:') then
    heard[#heard + 1] = {key, redis.call('XRANGE', key, '-', '+')}
    redis.call('DEL', key)
  end
end
return heard
"""

_DUMP = """
local dump, names = {}, redis.call('KEYS', ARGV[1] .. '*')
for _, key in ipairs(redis.call('KEYS', ARGV[2] .. '*')) do
  names[#names + 1] = key
end
for _, key in ipairs(names) do
  local kind, content = redis.call('TYPE', key).ok, false
  if kind == 'hash' then content = redis.call('HGETALL', key) end
  if kind == 'zset' then content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  if kind == 'string' then content = redis.call('GET', key) end
  if kind ~= 'stream' then
    dump[#dump + 1] = {key, kind, redis.call('PTTL', key), content}
  end
end
return dump
"""
