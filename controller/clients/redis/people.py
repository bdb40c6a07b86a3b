"""How many users of a pool wait, are reserved, or are in a Match: one read, whatever their number.

Neighbors: `triggers.people` sums the pools up for the metrics.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from controller.clients.reading import reading
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.lua import Script
from controller.errors import Backend

_TEXT = """local first = redis.call('ZRANGEBYSCORE', KEYS[1], '(0', '(inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {
  tostring(redis.call('ZCARD', KEYS[1])),
  tostring(redis.call('ZCARD', KEYS[2])),
  tostring(redis.call('ZCARD', KEYS[3])),
  first[2] or '',
}
"""
_PEOPLE = Script("people", _TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class People:
    """The numbers of one pool. `matches` hold users; `first_ms` is the place of the user who waits longest.

    A place that is no time (below 0, or infinite) counts, and says nothing of how long its user has waited.
    """

    waiting: int
    reserved: int
    matches: int
    first_ms: float | None


async def people(redis: Redis, keys: Keys) -> People:
    """Count the users of a pool. Raises BackendError."""
    answer = await redis.run(_PEOPLE, [keys.queue(), keys.reserved(), keys.live()], ())
    with reading(Backend.REDIS, _PEOPLE.name):
        waiting, reserved, matches, first = answer
        return People(int(waiting), int(reserved), int(matches), float(first) if first else None)
