"""Removes keys of a pool that have another type than they must have, so that the scripts work again.

The table `KEY_RULES` has the type of each key. Neighbor: `backends.resets` writes again what was in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import KEY_RULES, Keys
from controller.clients.redis.replies.pool import MENDED

_TYPES: Final = {rule.form.partition("<")[0]: rule.type for rule in KEY_RULES}


async def mend(redis: Redis, keys: Keys, names: Iterable[str]) -> tuple[str, ...]:
    """Remove those of these keys that have a wrong type; return their names. Raises BackendError."""
    wanted = list(names)
    types = [_TYPES[_stem(keys.name(name))] for name in wanted]
    return MENDED.parse(await redis.run(lua.MEND, wanted, types))


def keys_of_pool(keys: Keys) -> Iterator[str]:
    """The keys that all users of the pool share."""
    yield from (keys.queue(), keys.reserved(), keys.reservations(), keys.heartbeats())
    yield from (keys.served(), keys.events(), keys.disconnects(), keys.live())


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
