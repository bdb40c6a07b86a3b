"""Finds the ledgers of Matches by another name than the UID: also of Matches that are gone, for a day after their end.

No index is kept for it, since it is asked by hand alone: it looks at all keys of Redis, page by page. `cli.explain`
asks.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from controller.errors import BackendRefused
from controller.facts.ledger import Ledger

_PAGE: Final = 1000
_AT_ONCE: Final = 100


async def find_ledgers(redis: Redis, keys: Keys, wanted: str) -> list[Ledger]:
    """The ledgers of one pool whose Match has this name, UID, session or LiveKit room, or this user; the newest first.

    A ledger that cannot be read is left out. Raises BackendError.
    """
    beginning = keys.match("")
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", beginning) + "*"
    cursor, found = "0", dict[str, Ledger]()
    while True:
        cursor, names = await redis.scan(pattern, cursor, count=_PAGE)
        for start in range(0, len(names), _AT_ONCE):
            uids = [name.removeprefix(beginning) for name in names[start : start + _AT_ONCE]]
            for ledger in await asyncio.gather(*(_read(redis, keys, uid) for uid in uids)):
                if ledger is not None and _is_wanted(ledger, wanted):
                    found[ledger.uid] = ledger
        if cursor == "0":
            return sorted(found.values(), key=lambda ledger: ledger.created_at_ms or 0, reverse=True)


async def _read(redis: Redis, keys: Keys, uid: str) -> Ledger | None:
    try:
        return parse_ledger(uid, await redis.hash(keys.match(uid)))
    except BackendRefused:
        return None


def _is_wanted(ledger: Ledger, wanted: str) -> bool:
    return wanted in {ledger.match_name, ledger.uid, ledger.session_id, ledger.room} or wanted in ledger.queued_at_ms
