"""Removes keys of a pool that have another type than they must have, and repairs ledgers that make no sense.

The table `KEY_RULES` has the type of each key. Neighbor: `backends.resets` writes again what was in them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import structlog

from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.errors import WRONG_TYPE
from controller.clients.redis.keys import KEY_RULES, Keys
from controller.clients.redis.ledger import parse_ledger, repairs
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.pool import MENDED, REPAIRED, IncarnationReply
from controller.errors import BackendRefused, Code
from controller.facts.ledger import Ledger

log = structlog.get_logger(__name__)

_TYPES: Final = {rule.form.partition("<")[0]: rule.type for rule in KEY_RULES}


async def mend(redis: Redis, keys: Keys, names: Iterable[str]) -> tuple[str, ...]:
    """Remove those of these keys that have a wrong type; return their names. Raises BackendError."""
    wanted = list(names)
    types = [_TYPES[_stem(keys.name(name))] for name in wanted]
    return MENDED.parse(await redis.run(lua.MEND, wanted, types))


async def begin_mended_restore(pool: Pool) -> IncarnationReply:
    """`Pool.begin_restore`, also where a guard has the wrong type: it is removed, and so counts as lost.

    Raises BackendError.
    """
    try:
        return await pool.begin_restore()
    except BackendRefused as error:
        if error.code != WRONG_TYPE:
            raise
    removed = await mend(pool.redis, pool.keys, guards_of_pool(pool.keys, pool.shard))
    named = [pool.keys.name(key) for key in removed]
    log.warning("damaged keys were removed; the pool is restored", namespace=pool.keys.namespace, keys=named)
    return await pool.begin_restore()


async def read_ledger(pool: Pool, uid: str, *, now_ms: int) -> Ledger | None:
    """The ledger of a Match as `mend_ledger` would leave it; None if there is none, or nothing in it can be read.

    It writes nothing. Raises BackendError.
    """
    try:
        return await pool.ledger(uid)
    except BackendRefused as error:
        if error.code not in {Code.DAMAGED, WRONG_TYPE}:
            raise
        if error.code == WRONG_TYPE:
            return None
    fields = await pool.redis.hash(pool.keys.match(uid))
    with contextlib.suppress(BackendRefused):
        return parse_ledger(uid, {**fields, **repairs(fields, {}, now_ms)})
    return None


async def mend_ledger(pool: Pool, uid: str, places: Mapping[str, int], *, now_ms: int) -> tuple[str, ...]:
    """Write what cannot be read in the ledger of a Match again; return what was mended. Raises BackendError.

    What can be read stays: who is settled, and how the Match ended. `places` are those in the queue that are known. A
    key that is no ledger at all is removed, and counts as lost.
    """
    with contextlib.suppress(BackendRefused):
        await pool.ledger(uid)
        return ()
    key = pool.keys.match(uid)
    if removed := await mend(pool.redis, pool.keys, [key]):
        return removed
    fields = await pool.redis.hash(key)
    repaired = repairs(fields, places, now_ms)
    return await repair(pool.redis, key, fields, repaired) if repaired else ()


async def repair(redis: Redis, key: str, seen: Mapping[str, str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Give fields of a ledger other values, or remove them; return those that had not changed since they were seen.

    Raises BackendError.
    """
    args = [word for name, value in values.items() for word in (name, seen[name], value)]
    return REPAIRED.parse(await redis.run(lua.REPAIR, [key], args))


def keys_of_pool(keys: Keys, shard: int = 0) -> Iterator[str]:
    """The keys that all users of the pool share."""
    yield from (keys.queue(), keys.reserved(), keys.reservations(), keys.heartbeats())
    yield from (keys.served(), keys.events(), keys.disconnects(), keys.live())
    yield from (keys.signals(), keys.signals_done(), keys.webhooks(shard))
    yield from guards_of_pool(keys, shard)


def guards_of_pool(keys: Keys, shard: int = 0) -> Iterator[str]:
    """The keys that every fenced script reads first. A pool that has lost one of them has lost data."""
    yield from (keys.incarnation(), keys.fence(shard))


def keys_of_match(keys: Keys, uid: str, session_id: str, user_ids: Iterable[str]) -> Iterator[str]:
    """The keys of one Match and of its users. Flags and bans may have any value, so they are left alone."""
    yield from (keys.match(uid), keys.session(session_id), keys.tokens(uid))
    for user_id in user_ids:
        yield from (keys.user(user_id), keys.notify(user_id), keys.recent(user_id))


def keys_of_room(keys: Keys, livekit_name: str) -> Iterator[str]:
    """The keys of one LiveKit room."""
    yield from (keys.room(livekit_name), keys.room_deleted(livekit_name))


def _stem(name: str) -> str:
    stem, colon, _ = name.partition(":")
    return stem + colon
