"""How long things stay in Redis after they are over: docs/redis.md lists the same times, key by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things stay that are over.

    A settled ledger answers replays and refuses late claims, so it must outlive whatever may still ask: a day at least.
    The tombstone of a room must outlive every token that opens it. `served_seconds` covers the time without an operator
    during an upgrade. A pool that no operator has served for `unserved_pool_seconds` loses the keys that say nothing
    about a user or a call.
    """

    settled_match_seconds: int = _DAY_SECONDS
    idle_user_seconds: int = 3600
    room_record_seconds: int = 7200
    tombstone_seconds: int = _DAY_SECONDS
    webhook_entries: int = 10_000
    served_seconds: int = 300
    unserved_pool_seconds: int = 30 * _DAY_SECONDS

    def __post_init__(self) -> None:
        if self.settled_match_seconds < _DAY_SECONDS:
            raise ValueError(
                f"settled_match_seconds is {self.settled_match_seconds}: use {_DAY_SECONDS} (a day) or more"
            )


RETENTION: Final = Retention()
"""The times that the operator uses."""
