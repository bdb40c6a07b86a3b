"""What the INFO of a Redis says about its fitness: version, memory, persistence. Pure.

Neighbors: `client` reads it, the operator warns of it at its start, `controller.doctor` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

OLDEST: Final = (6, 2)
"""The oldest Redis that the scripts run on. Every Valkey is newer."""
_FULL_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The fields of INFO that matter, by their names there. One that the server does not tell is empty."""

    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """The program and its version: `Redis 7.4.1`."""
        valkey = self.fields.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {self.fields.get('redis_version') or '?'}"

    @property
    def is_too_old(self) -> bool:
        """Whether it is older than the oldest one that works."""
        match = re.match(r"(\d+)\.(\d+)", self.fields.get("redis_version", ""))
        return match is not None and (int(match[1]), int(match[2])) < OLDEST

    @property
    def policy(self) -> str:
        """`maxmemory-policy`."""
        return self.fields.get("maxmemory_policy", "")

    @property
    def limit(self) -> int:
        """`maxmemory` in bytes; 0: no limit, or not told."""
        return _number(self.fields.get("maxmemory", ""))

    @property
    def limit_text(self) -> str:
        """The same for people: `1.00G`."""
        return self.fields.get("maxmemory_human") or str(self.limit)

    @property
    def evicts(self) -> bool:
        """Whether it drops keys when its memory is full."""
        return bool(self.policy) and self.policy != "noeviction" and self.limit > 0

    @property
    def percent_full(self) -> int:
        """How much of its limit is used, in percent; 0 without a limit."""
        return round(100 * _number(self.fields.get("used_memory", "")) / self.limit) if self.limit else 0

    @property
    def is_nearly_full(self) -> bool:
        """Whether little of its limit is left."""
        return self.percent_full >= 100 * _FULL_SHARE

    @property
    def has_append_only_file(self) -> bool | None:
        """Whether what was written last survives a restart; None if it does not tell."""
        told = self.fields.get("aof_enabled")
        return None if told is None else told == "1"

    def warnings(self) -> Iterator[str]:
        """What an administrator should change, one sentence each."""
        if self.is_too_old:
            yield f"{self.name} is older than 6.2, and the scripts may fail; use Redis 6.2 or later, or Valkey"
        if self.evicts:
            yield (
                f"maxmemory-policy is {self.policy} at {self.limit_text}: users vanish when the memory is full; "
                "set it to noeviction"
            )
        if self.is_nearly_full:
            yield (
                f"{self.percent_full} % of maxmemory ({self.limit_text}) are used; when all of it is, no call is "
                "decided; raise it"
            )
        if self.has_append_only_file is False:
            yield "it keeps no append-only file: a restart may lose the users who wait; set appendonly to yes"


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else 0
