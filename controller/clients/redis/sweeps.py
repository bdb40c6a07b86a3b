"""The lock and the notes of the sweeps: one sweep at a time, and the next leader goes on where the last one was.

They belong to no pool: SCAN reads the keys of all pools, and its cursor is in the notes. Two installations that share a
cluster id serve other namespaces, so each has its own. The notes are the statistics that `roomkeeper sweep` shows.
Neighbors: `backends.sweep_lock` keeps the lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from controller.clients.reading import reading
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import sweep_lock_key, sweeps_key
from controller.clients.redis.replies.table import ReplyTable, pairs
from controller.errors import Backend

_KEEP_SECONDS: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Notes:
    """All notes, as they are in Redis."""

    fields: Mapping[str, str]

    def text(self, name: str) -> str:
        """One note; empty if there is none."""
        return self.fields.get(name, "")

    def number(self, name: str) -> int:
        """One note as a number; 0 for none, and for what is no number."""
        text = self.text(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


@dataclass(frozen=True, slots=True)
class Busy:
    """Another sweep works: this one has the lock."""

    owner: str


SweepsReply: TypeAlias = Notes | Busy


def _notes(*flat: str) -> Notes:
    return Notes(dict(pairs(flat)))


SWEEPS: Final = ReplyTable[SweepsReply]("sweeps", {"OK": _notes, "BUSY": Busy})


@dataclass(frozen=True, slots=True)
class SweepStore:
    """The lock and the notes of one installation: replicas and commands that name the same `lease`
    (`<namespace>/<name>`). Every method raises BackendError.
    """

    redis: Redis
    cluster_id: str
    lease: str

    async def keep(self, owner: str, *, ttl_seconds: float, force: bool = False) -> SweepsReply:
        """Take the lock or keep it for so long. `force` takes it away from another owner."""
        return await self._run(owner, round(ttl_seconds * 1000), force, {})

    async def give_back(self, owner: str, notes: Mapping[str, str | int] | None = None) -> SweepsReply:
        """Give the lock back, and write notes."""
        return await self._run(owner, 0, False, notes or {})

    async def read(self) -> Notes:
        """All notes, whether a sweep works or not."""
        return Notes(await self.redis.hash(sweeps_key(self.cluster_id, self.lease)))

    async def holder(self) -> str:
        """The owner of the lock; empty if no sweep works."""
        return await self.redis.text(sweep_lock_key(self.cluster_id, self.lease)) or ""

    async def _run(self, owner: str, ttl_ms: int, force: bool, notes: Mapping[str, str | int]) -> SweepsReply:
        args: list[str | int] = [owner, ttl_ms, int(force), _KEEP_SECONDS * 1000]
        for name, value in notes.items():
            args += [name, value]
        keys = (sweep_lock_key(self.cluster_id, self.lease), sweeps_key(self.cluster_id, self.lease))
        with reading(Backend.REDIS, lua.SWEEPS.name):
            return SWEEPS.parse(await self.redis.run(lua.SWEEPS, keys, args))
