"""Writes records in Redis again that another client has damaged: the Matches are the truth about a live call.

A key of the wrong type stops every script that meets it. It is removed, since nothing in it can be kept, and what the
Matches know is written again. A ledger that makes no sense stops its Match; only what cannot be read in it is written
again, since the rest says who is settled and how the Match ended. Users whom another live Match
holds are written for that Match first, so that no user is taken twice meanwhile. Neighbors: `loop.recovery` calls this
for a key that failed, `triggers.sweep` each minute for what all users of a pool share, `backends.restores` does it for
a Redis that lost its data.
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from controller.api.match import Match
from controller.api.meta import ObjectMeta
from controller.api.names import livekit_room_name
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.pools import Pools
from controller.backends.restore_requests import known_places, restore_request
from controller.clients.redis.keys import Keys
from controller.clients.redis.mending import (
    guards_of_pool,
    keys_of_match,
    keys_of_pool,
    keys_of_room,
    mend,
    mend_ledger,
)
from controller.clients.redis.pool import Pool
from controller.clients.redis.requests import SettleRequest
from controller.facts.ledger import Destination, Release
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable

log = structlog.get_logger(__name__)


async def reset_match(match: Match, backends: Backends) -> None:
    """Remove what is damaged of the records of a Match and its users, and write it again. Raises BackendError."""
    namespace, uid = match.metadata.namespace, match.metadata.uid
    unbound = backends.pools.unbound(namespace)
    keys = unbound.keys
    removed = await mend_pool(namespace, backends.pools)
    pool = await backends.pools.get(namespace)
    for other in _other_matches(match, backends):
        await _restore(other, pool, backends)
    users, session_id = match.spec.identities, match.spec.session_id or uid
    removed += await mend(unbound.redis, keys, keys_of_match(keys, uid, session_id, users))
    now_ms = milliseconds(backends.clock.now())
    repaired = await mend_ledger(unbound, uid, known_places(match), now_ms=now_ms)
    await _release_others(match, pool, backends)
    await _restore(match, pool, backends)
    if keys.live() in removed:
        await _restore_live(namespace, pool, backends)
    _tell(keys, match.metadata.name, removed)
    _tell_repaired(match.metadata, repaired)


async def reset_unreadable(found: Unreadable, backends: Backends) -> None:
    """Mend what is damaged of the records of a Match that cannot be read, as far as its UID tells. Raises BackendError.

    Its ledger then tells the users, so that a deletion can let go of them.
    """
    namespace, uid = found.metadata.namespace, found.metadata.uid
    pool = backends.pools.unbound(namespace)
    removed = await mend_pool(namespace, backends.pools)
    removed += await mend(pool.redis, pool.keys, [pool.keys.tokens(uid)])
    repaired = await mend_ledger(pool, uid, {}, now_ms=milliseconds(backends.clock.now()))
    _tell(pool.keys, found.metadata.name, removed)
    _tell_repaired(found.metadata, repaired)


async def reset_room(room: Room, backends: Backends) -> None:
    """Remove what is damaged of the records of a Room; its own key writes them again. Raises BackendError."""
    namespace = room.metadata.namespace
    pool = backends.pools.unbound(namespace)
    name = livekit_room_name(backends.cluster_id, namespace, room.metadata.uid)
    removed = await mend_pool(namespace, backends.pools)
    removed += await mend(pool.redis, pool.keys, keys_of_room(pool.keys, name))
    if pool.keys.live() in removed:
        await _restore_live(namespace, await backends.pools.get(namespace), backends)
    _tell(pool.keys, room.metadata.name, removed)


async def mend_pool(namespace: str, pools: Pools) -> tuple[str, ...]:
    """Remove what is damaged of the keys that all users of a pool share; return their names. Raises BackendError.

    Signals and webhooks were never in a key of the wrong type. A pool that has lost what guards it has lost data: it is
    closed, and restored as soon as it is opened again.
    """
    pool = pools.unbound(namespace)
    removed = await mend(pool.redis, pool.keys, keys_of_pool(pool.keys))
    if not set(removed).isdisjoint(guards_of_pool(pool.keys)):
        pools.forget(namespace)
    return removed


def _other_matches(match: Match, backends: Backends) -> Iterator[Match]:
    """The live Matches that have a user of this one."""
    users = set(match.spec.identities)
    for call in backends.calls.of(match.metadata.namespace):
        if call.uid == match.metadata.uid or users.isdisjoint(call.identities):
            continue
        other = backends.matches.by_uid(call.uid)
        if isinstance(other, Match):
            yield other


async def _restore_live(namespace: str, pool: Pool, backends: Backends) -> None:
    """Write all live Matches again: they were in the list that was removed."""
    for call in tuple(backends.calls.of(namespace)):
        match = backends.matches.by_uid(call.uid)
        if isinstance(match, Match):
            await _restore(match, pool, backends)


async def _restore(match: Match, pool: Pool, backends: Backends) -> None:
    """Write the ledger and the users of a Match that has started, and has not begun to end."""
    request = restore_request(match)
    if request is not None:
        reply = await pool.claim(request, now_ms=milliseconds(backends.clock.now()))
        backends.pools.check(match.metadata.namespace, reply)


async def _release_others(match: Match, pool: Pool, backends: Backends) -> None:
    """Let go of users whom the ledger names and the Match does not: else it can never be settled."""
    namespace, uid = match.metadata.namespace, match.metadata.uid
    ledger = await pool.ledger(uid)
    if ledger is None or ledger.settled:
        return
    others = sorted(ledger.queued_at_ms.keys() - set(match.spec.identities) - ledger.outcomes.keys())
    if not others:
        return
    releases = tuple(Release(user_id, Destination.BACK) for user_id in others)
    request = SettleRequest(uid, match.spec.session_id or uid, releases, final=False)
    backends.pools.check(namespace, await pool.settle(request, now_ms=milliseconds(backends.clock.now())))
    log.warning("a ledger named users who are not in the match; they are free", namespace=namespace, users=len(others))


def _tell(keys: Keys, name: str, removed: tuple[str, ...]) -> None:
    if removed:
        log.warning("damaged keys were removed", namespace=keys.namespace, name=name, keys=stems(keys, removed))


def _tell_repaired(metadata: ObjectMeta, mended: tuple[str, ...]) -> None:
    if mended:
        key = f"{metadata.namespace}/{metadata.name}"
        log.warning("a ledger made no sense; it was repaired", key=key, uid=metadata.uid)


def stems(keys: Keys, names: tuple[str, ...]) -> list[str]:
    """The names of keys without the prefix of the pool and without the id of a user."""
    return [keys.name(key).partition(":")[0] for key in names]
