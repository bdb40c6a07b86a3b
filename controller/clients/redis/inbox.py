"""What gateways and older clients write for the operator: signals, flags and heartbeats.

`triggers.signals`, `triggers.flags` and `triggers.heartbeats` use this module. A signal becomes a field of the Match's
ledger, where `observe` reads it. So it outlives the replica that received it, and the planner decides what follows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from controller.clients.reading import rows
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.commands import Command
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.inbox import (
    EXPIRE,
    FLAGS,
    SIGNAL,
    SIGNALS,
    SILENT,
    ExpireReply,
    ScanCursor,
    SignalReply,
    SignalsReply,
    Silence,
)
from controller.clients.redis.requests import Signal, SignalKind
from controller.errors import Backend

KIND_OF_FLAG = {
    "force-disconnect": SignalKind.DISCONNECT,
    "skip-in-progress": SignalKind.SKIP,
    "pre-skip": SignalKind.SKIP,
}
"""The flags of older clients, and what each means."""

_OURS, _ABOUT = "roomkeeper:", "match:"
_FROM_THE_BEGINNING = ScanCursor()


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that is set for a user."""

    name: str
    user_id: str
    value: str

    @property
    def match_uid(self) -> str:
        """The UID of the Match that the flag names; empty if it names none."""
        return self.value.removeprefix(_ABOUT) if self.value.startswith(_ABOUT) else ""


@dataclass(frozen=True, slots=True)
class Inbox:
    """The inbox of one pool."""

    pool: Pool

    async def signal(self, signal: Signal, *, now_ms: int) -> SignalReply:
        """Write a signal into the ledger of its Match. If several signals ask to end the Match, the first one stays."""
        keys = self.pool.keys
        names = [keys.user(signal.user), keys.match(signal.uid)]
        args: list[str | int] = [
            now_ms,
            signal.uid,
            signal.user,
            signal.kind,
            signal.by,
            signal.reason,
            signal.via,
            "" if signal.sent_ms is None else signal.sent_ms,
        ]
        if signal.flag_value is not None:
            names.append(keys.flag(signal.via, signal.user))
            args.append(signal.flag_value)
        return await self.pool.run_fenced(Command(lua.SIGNAL, SIGNAL, names, args))

    async def signals_done(self) -> str:
        """Return the id of the last handled entry of `signals`; the beginning of the stream if there is none."""
        return await self.pool.redis.text(self.pool.keys.signals_done()) or "0-0"

    async def set_signals_done(self, entry_id: str) -> SignalsReply:
        """Store that all entries up to `entry_id` are handled, and remove them from the stream, roughly.

        An entry that is not handled yet stays, however many follow it.
        """
        names = [self.pool.keys.signals_done(), self.pool.keys.signals()]
        return await self.pool.run_fenced(Command(lua.SIGNALS, SIGNALS, names, (entry_id,)))

    async def flags(self, user_ids: Sequence[str]) -> tuple[Flag, ...]:
        """Return the flags that older clients set for these users, without our own and those that name no Match."""
        if not user_ids:
            return ()
        names = tuple(KIND_OF_FLAG)
        keys = [self.pool.keys.flag(name, "") for name in names]
        read = FLAGS.parse(await self.pool.redis.run(lua.FLAGS, keys, user_ids))
        found = (Flag(names[row.number - 1], row.user_id, row.value) for row in read)
        return tuple(flag for flag in found if flag.value != _ABOUT and not flag.value.startswith(_OURS))

    async def silent(
        self,
        cursor: ScanCursor = _FROM_THE_BEGINNING,
        *,
        for_seconds: float,
        late_after_seconds: float,
        limit: int = 1000,
    ) -> Silence:
        """Return users without a beat for that long: `limit` beyond `cursor`, and as many of the known ones in turn."""
        args: list[str | int] = [
            round(for_seconds * 1000),
            round(late_after_seconds * 1000),
            "" if cursor.known_ms is None else cursor.known_ms,
            "" if cursor.checked_ms is None else cursor.checked_ms,
            limit,
        ]
        return SILENT.parse(await self.pool.redis.run(lua.SILENT, [self.pool.keys.heartbeats()], args))

    async def expire(self, user_id: str, last_beat_ms: int, *, now_ms: int) -> ExpireReply:
        """Remove a waiting user from the queue if they have not beaten since `last_beat_ms`."""
        keys = self.pool.keys
        names = [
            *(keys.queue(), keys.reserved(), keys.reservations(), keys.heartbeats(), keys.user(user_id)),
            *(keys.notify(user_id), keys.events()),
        ]
        idle_ms = self.pool.retention.idle_user_seconds * 1000
        args: list[str | int] = [now_ms, user_id, last_beat_ms, idle_ms]
        return await self.pool.run_fenced(Command(lua.EXPIRE, EXPIRE, names, args))


async def pools_with_people(redis: Redis, cluster_id: str, cursor: str, *, count: int) -> tuple[str, tuple[str, ...]]:
    """Scan about `count` of the keys of Redis, from `cursor` on.

    Return the next cursor (`0`: the scan is complete) and the namespaces that have waiting or beating users, or Matches
    that hold users.
    """
    # Of a pool's keys only `queue`, `heartbeats` and `live` begin with one of these letters.
    pattern = "rk*" + re.sub(r"([*?\[\]\\^])", r"\\\1", f":{{{cluster_id}:") + "*}:[hlq]*"
    go_on, names = await redis.scan(pattern, cursor, count=count)
    keys = [name for name in names if name.endswith(("}:queue", "}:heartbeats", "}:live"))]
    pools = rows(Backend.REDIS, "pool", keys, lambda key: _namespace_of(key, cluster_id))
    return go_on, tuple(dict.fromkeys(pools))


def _namespace_of(key: str, cluster_id: str) -> str:
    """The namespace whose pool has this key. Raises ValueError for a name that no key of ours has."""
    namespace = key.partition(f":{{{cluster_id}:")[2].partition("}:")[0]
    keys = Keys(cluster_id, namespace)
    if key not in {keys.queue(), keys.heartbeats(), keys.live()}:
        raise ValueError(f"{key!r} is no key of a pool")
    return namespace
