"""Notices to users' clients that belong to no transition: a signal has no effect, a Match cannot be made, a server is
drained.

The scripts of the transitions write all other notices; docs/events.md lists them. A request may be repeated: a user
gets one notice about one thing, as long as the notices are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.api.failure_codes import Failure
from controller.api.notices import REFUSALS
from controller.clients.redis import lua
from controller.clients.redis.commands import Command
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.pool import NOTIFY, Told, ToldReply


@dataclass(frozen=True, slots=True)
class Drain:
    """What a notice says about a drain. Each drain has its own `id`; `kind`: graceful, maintenance or emergency."""

    id: str
    kind: str
    message: str = ""
    expected_downtime_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Outbox:
    """The outbox of one pool."""

    pool: Pool

    async def refused(self, user_id: str, entry_id: str, kind: str, why: str, *, now_ms: int) -> ToldReply:
        """Tell a user's client that the entry `entry_id` of `signals` has no effect; `why` is a key of `REFUSALS`."""
        fields = ("code", "SignalRefused", "signal", kind, "why", why, "notice", REFUSALS[why])
        return await self._notify([user_id], "error", entry_id, fields, now_ms)

    async def failed(
        self, user_ids: Sequence[str], failure: Failure, uid: str, match_name: str, *, now_ms: int
    ) -> ToldReply:
        """Tell these users' clients why their Match cannot be made, and what to do: once per error and Match."""
        words = ("code", "MatchRefused", "error", str(failure.code))
        fields = (*words, "matchName", match_name, "notice", failure.user)
        return await self._notify(user_ids, "error", f"{uid}/{failure.code}", fields, now_ms)

    async def shutdown(self, user_ids: Sequence[str], drain: Drain, *, now_ms: int) -> ToldReply:
        """Tell these users' clients that the server of their call is drained."""
        seconds = drain.expected_downtime_seconds
        fields = (
            *("drain", drain.kind, "notice", drain.message),
            *("expectedDowntimeSeconds", "" if seconds is None else str(seconds)),
        )
        return await self._notify(user_ids, "shutdown", drain.id, fields, now_ms)

    async def _notify(
        self, user_ids: Sequence[str], kind: str, about: str, fields: tuple[str, ...], now_ms: int
    ) -> ToldReply:
        if not user_ids:
            return Told(0)
        names = [self.pool.keys.notify(user_id) for user_id in user_ids]
        return await self.pool.run_fenced(Command(lua.NOTIFY, NOTIFY, names, (now_ms, kind, about, *fields)))
