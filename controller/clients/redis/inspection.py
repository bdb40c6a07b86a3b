"""Reads of many records at once, for the audit: their number does not grow with the number of calls.

Neighbors: `triggers.audit` compares what it reads here with the calls that it knows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

import structlog

from controller.clients.reading import reading
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.lua import Script
from controller.clients.redis.mark import parse_fence
from controller.clients.redis.pool import Pool
from controller.errors import Backend, BackendError

log = structlog.get_logger(__name__)

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


async def with_losses(redis: Redis, pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """Those of these pools whose data is lost, all of it or the latest, in one read for each group of keys.

    Each pool is bound to the incarnation that it knows. A node of a cluster that does not answer says nothing about its
    pools, and costs those of the others nothing. Raises BackendError if none answers.
    """
    known = [(pool, pool.mark.known) for pool in pools]
    keys = [key for pool in pools for key in (pool.keys.incarnation(), pool.keys.fence(pool.shard))]
    groups = redis.together(keys) if keys else ()
    answers = await asyncio.gather(*(redis.texts(group) for group in groups), return_exceptions=True)
    found: dict[str, str | None] = {}
    for group, answer in zip(groups, answers, strict=True):
        if isinstance(answer, BackendError):
            log.debug("a node does not say whether it lost data", error=str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.update(zip(group, answer, strict=True))
    if groups and not found and isinstance(answers[0], BackendError):
        raise answers[0]
    return tuple(pool for pool, number in known if pool.keys.incarnation() in found and _has_lost(pool, number, found))


def _has_lost(pool: Pool, number: int, found: Mapping[str, str | None]) -> bool:
    fence = parse_fence(found[pool.keys.fence(pool.shard)])
    return found[pool.keys.incarnation()] != pool.incarnation or (number > 0 and fence < (pool.epoch, number))


async def has_people(redis: Redis, keys: Keys) -> bool:
    """Whether users wait, beat or are in a call in this pool. Raises BackendError."""
    where = (keys.queue(), keys.heartbeats(), keys.reserved(), keys.live())
    return any(await asyncio.gather(*(redis.exists(key) for key in where)))
