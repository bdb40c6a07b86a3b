"""Reads keys that may be left over, and cleans leftovers, each by one fenced script that checks again.

Neighbors: `rules.leftovers` judges what is read here, `backends.cleaning` asks Kubernetes before it cleans, `sweeps`
has the lock and the notes of the sweeps. Settling a Match is a request of `pool`, and retiring a user one of `inbox`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from controller.api.endings import ENDINGS, EndReason
from controller.clients.reading import place_ms, reading
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.commands import Command
from controller.clients.redis.keys import Keys, key_of_pool
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.refusals import FENCED, Lost, Stale
from controller.clients.redis.replies.table import ReplyTable
from controller.errors import Backend
from controller.facts.leftover import Leftover, Remedy, SeenKey

FIELDS: Final = (
    *("state", "match", "matchName", "since", "roomName", "lastUpdated"),
    *("claimed", "settled", "createdAt"),
)
"""The fields of users, rooms and ledgers that tell whether something is left over."""

_ROW: Final = 4 + len(FIELDS)


class Swept(StrEnum):
    """What a script did about a leftover."""

    DONE = "done"
    WAITING = "waiting"
    IDLE = "idle"
    CHANGED = "changed"
    """It is no leftover any longer."""
    HELD = "held"
    """A Match that holds users has it."""

    @property
    def is_clean(self) -> bool:
        """Whether something was done."""
        return self not in {Swept.CHANGED, Swept.HELD}


SweptReply: TypeAlias = Swept | Stale | Lost
ReleasedReply: TypeAlias = tuple[str, ...] | Stale | Lost


def _ids(*ids: str) -> tuple[str, ...]:
    return ids


def _swept(word: str) -> Swept:
    return Swept(word)


LASTING: Final = ReplyTable[tuple[str, ...]]("lasting", {"OK": _ids})
DROP: Final = ReplyTable[SweptReply]("drop", {"OK": _swept, **FENCED})
FREE: Final = ReplyTable[SweptReply]("free", {"OK": _swept, **FENCED})
UNRESERVE: Final = ReplyTable[ReleasedReply]("unreserve", {"OK": _ids, **FENCED})


async def scan(
    redis: Redis, cluster_id: str, forms: Collection[str], cursor: str, *, count: int
) -> tuple[str, dict[Keys, list[str]]]:
    """Look at about `count` of all keys of Redis; return the next cursor (`0`: that was all), and those of ours that
    have one of these forms, by pool.

    Raises BackendError.
    """
    escaped = re.sub(r"([*?\[\]\\^])", r"\\\1", f":{{{cluster_id}:")
    go_on, names = await redis.scan(f"rk*{escaped}*", cursor, count=count)
    found: dict[Keys, list[str]] = {}
    for name in dict.fromkeys(names):
        if (known := key_of_pool(cluster_id, name)) is not None and known[1] in forms:
            found.setdefault(known[0], []).append(name)
    return go_on, found


async def lasting(redis: Redis, keys: Keys, names: Sequence[str], *, idle_seconds: int) -> list[SeenKey]:
    """Those of these keys of one pool that have no TTL, and that neither the queue, `reserved` nor `live` names.

    A session is read if it was idle for so long. Raises BackendError.
    """
    if not names:
        return []
    asked = [keys.queue(), keys.reserved(), keys.live(), *names]
    flat = LASTING.parse(await redis.run(lua.LASTING, asked, [idle_seconds, *FIELDS]))
    with reading(Backend.REDIS, lua.LASTING.name):
        if len(flat) % _ROW:
            raise ValueError("a row is not complete")
        return [_seen(keys, flat[at : at + _ROW]) for at in range(0, len(flat), _ROW)]


def _seen(keys: Keys, row: Sequence[str]) -> SeenKey:
    key, kind, idle, value, *fields = row
    known = key_of_pool(keys.cluster_id, key)
    if known is None:
        raise ValueError("this is no key of a pool")
    _, form, member = known
    return SeenKey(
        key=key,
        form=form,
        id=member,
        type=kind,
        idle_seconds=int(idle) if idle else None,
        value=value,
        fields={name: text for name, text in zip(FIELDS, fields, strict=True) if text},
    )


@dataclass(frozen=True, slots=True)
class LeftoverStore:
    """The requests about the leftovers of one pool. A request whose leftover has changed does nothing."""

    pool: Pool

    async def drop(self, leftover: Leftover) -> SweptReply:
        """Delete the key, or give it a TTL."""
        keys = self.pool.keys
        names = [keys.live(), leftover.key, *([keys.match(leftover.match)] if leftover.match else [])]
        ttl_ms = 1000 * self._ttl_seconds(leftover) if leftover.remedy is Remedy.EXPIRE else 0
        args: list[str | int] = [leftover.type, leftover.match, leftover.idle_seconds, ttl_ms]
        for field, value in leftover.unchanged.items():
            args += [field, value]
        return await self.pool.run_fenced(Command(lua.DROP, DROP, names, args))

    async def free(self, leftover: Leftover, *, now_ms: int, silent_seconds: float, tells: bool) -> SweptReply:
        """Let the user wait again, or be idle. One who has not beaten for `silent_seconds` is idle."""
        keys, user_id = self.pool.keys, leftover.id
        names = [
            *(keys.queue(), keys.reserved(), keys.reservations(), keys.heartbeats(), keys.live()),
            *(keys.user(user_id), keys.blocked(user_id), keys.notify(user_id), keys.events()),
            *([keys.match(leftover.match)] if leftover.match else []),
        ]
        args: list[str | int] = [
            now_ms,
            user_id,
            leftover.match,
            leftover.unchanged.get("since", ""),
            self.pool.retention.idle_user_seconds * 1000,
            round(silent_seconds * 1000),
            EndReason.DELETED,
            ENDINGS[EndReason.DELETED].notice if tells else "",
        ]
        return await self.pool.run_fenced(Command(lua.FREE, FREE, names, args))

    async def unreserve(self, *user_ids: str) -> ReleasedReply:
        """Put those of these users whose reservation is over back in their places; return who they are."""
        keys = self.pool.keys
        names = (keys.queue(), keys.reserved(), keys.reservations())
        return await self.pool.run_fenced(Command(lua.UNRESERVE, UNRESERVE, names, user_ids))

    async def overdue(self, *, now_ms: int, limit: int) -> tuple[str, ...]:
        """Users whose reservation is over by this clock, the longest over first."""
        found = await self.pool.redis.scored(self.pool.keys.reserved(), at_most=now_ms, limit=limit)
        return tuple(user_id for user_id, _ in found)

    async def silent(self, *, before_ms: int, limit: int) -> tuple[tuple[str, int], ...]:
        """Users whose last beat was before this moment, with that beat; the longest silent first."""
        found = await self.pool.redis.scored(self.pool.keys.heartbeats(), at_most=before_ms, limit=limit)
        return tuple((user_id, place_ms(score)) for user_id, score in found)

    def _ttl_seconds(self, leftover: Leftover) -> int:
        """The TTL of what is over, as the script that ends it would have given it."""
        retention = self.pool.retention
        usual = {"user:": retention.idle_user_seconds, "match:": retention.settled_match_seconds}
        known = key_of_pool(self.pool.keys.cluster_id, leftover.key)
        return leftover.ttl_seconds or usual.get(known[1] if known else "", retention.tombstone_seconds)
