"""Reads of many records at once, for the audit: their number does not grow with the number of calls.

Neighbors: `triggers.audit` compares what it reads here with the calls that it knows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from controller.clients.reading import reading
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.lua import Script
from controller.clients.redis.mark import Guard
from controller.errors import Backend

# MGET does not read hashes. A key of another type answers an error, and is no record of ours.
_HOLDERS_TEXT = """local found = {}
for place, key in ipairs(KEYS) do
  local uid = redis.pcall('HGET', key, 'match')
  found[place] = type(uid) == 'string' and '=' .. uid or ''
end
return found
"""
_HOLDERS = Script("holders", _HOLDERS_TEXT, hashlib.sha1(_HOLDERS_TEXT.encode(), usedforsecurity=False).hexdigest())


async def holders(redis: Redis, keys: Keys, user_ids: Sequence[str]) -> dict[str, str | None]:
    """The UID of the Match that the record of each user names, empty if it names none; None without a record of ours.

    Raises BackendError.
    """
    if not user_ids:
        return {}
    answer = await redis.run(_HOLDERS, [keys.user(user_id) for user_id in user_ids], ())
    with reading(Backend.REDIS, _HOLDERS.name):
        return {
            user_id: word.removeprefix("=") if word else None for user_id, word in zip(user_ids, answer, strict=True)
        }


async def tombstoned(redis: Redis, keys: Keys, livekit_names: Sequence[str]) -> frozenset[str]:
    """Those of these LiveKit rooms that have a tombstone: they must not exist. Raises BackendError."""
    if not livekit_names:
        return frozenset()
    found = await redis.texts([keys.room_deleted(name) for name in livekit_names])
    return frozenset(name for name, text in zip(livekit_names, found, strict=True) if text is not None)


async def guards(redis: Redis, pools: Sequence[Keys]) -> Mapping[str, Guard]:
    """Incarnation and fence of each of these pools by its namespace, in one read; None for what is lost.

    Raises BackendError.
    """
    if not pools:
        return {}
    found = await redis.texts([key for keys in pools for key in (keys.incarnation(), keys.fence(0))])
    return {keys.namespace: guard for keys, guard in zip(pools, zip(found[::2], found[1::2], strict=True), strict=True)}


async def has_people(redis: Redis, keys: Keys) -> bool:
    """Whether users wait, beat or are in a call in this pool. Raises BackendError."""
    where = (keys.queue(), keys.heartbeats(), keys.reserved(), keys.live())
    return any(await asyncio.gather(*(redis.exists(key) for key in where)))
