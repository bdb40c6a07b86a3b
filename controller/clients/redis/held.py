"""Finds the users whom Matches hold by the users' own records. It is asked where the ledger of a Match is lost.

No index leads from a Match to its users but the ledger, so it looks at the records of all users of the pool, page by
page. Neighbors: `backends.gone_matches` asks, and lets go of the users.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from controller.clients.reading import NO_SENSE, reading
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.table import ReplyTable, milliseconds
from controller.errors import Backend

_PAGE: Final = 250
_ROW: Final = 6
# Between two pages: claims have their turn. So a million keys take half a minute.
_PAUSE_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class HeldUser:
    """A user by their own record. `queued_at_ms` is None for a user who did not come from the queue.

    Where the place in the queue cannot be read, `knows_place` is False.
    """

    id: str
    match: str
    state: str
    queued_at_ms: int | None
    knows_place: bool
    match_name: str
    session_id: str


def _nothing() -> None:
    """No other part waits for this one."""


def _ids(*words: str) -> tuple[str, ...]:
    return words


HELD: Final = ReplyTable[tuple[str, ...]]("held", {"OK": _ids})


async def find_held(
    pool: Pool, uids: Collection[str], beat: Callable[[], None] = _nothing
) -> dict[str, list[HeldUser]]:
    """The users whom each of these Matches holds; `beat` is called after each page. Raises BackendError."""
    keys, found = pool.keys, dict[str, dict[str, HeldUser]]()
    beginning = keys.user("")
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", beginning) + "*"
    cursor = "0"
    while True:
        cursor, names = await pool.redis.scan(pattern, cursor, count=_PAGE)
        for user in await held_among(pool.redis, keys, names, uids) if names else ():
            found.setdefault(user.match, {})[user.id] = user
        beat()
        if cursor == "0":
            return {uid: list(users.values()) for uid, users in found.items()}
        await asyncio.sleep(_PAUSE_SECONDS)


async def held_among(redis: Redis, keys: Keys, names: Sequence[str], uids: Collection[str]) -> list[HeldUser]:
    """Those of these records of users that name one of these Matches. Raises BackendError."""
    flat = HELD.parse(await redis.run(lua.HELD, names, list(uids)))
    with reading(Backend.REDIS, lua.HELD.name):
        if len(flat) % _ROW:
            raise ValueError("a row is not complete")
        return [_user(keys, *flat[at : at + _ROW]) for at in range(0, len(flat), _ROW)]


def _user(keys: Keys, key: str, uid: str, state: str, place: str, name: str, session_id: str) -> HeldUser:
    try:
        queued_at_ms, knows_place = milliseconds(place), True
    except NO_SENSE:
        queued_at_ms, knows_place = None, False
    user_id = key.removeprefix(keys.user(""))
    return HeldUser(user_id, uid, state, queued_at_ms, knows_place, name, session_id)
