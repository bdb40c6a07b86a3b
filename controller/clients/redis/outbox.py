"""Notices to users' clients that belong to no transition: a signal has no effect, a Match cannot be made, a server is
drained.

The scripts of the transitions write all other notices; docs/events.md lists them. A request may be repeated: a user
gets one notice about one thing, as long as the notices are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.api.failure_codes import Failure
from controller.api.notices import REFUSALS, STOP
from controller.clients.redis import lua
from controller.clients.redis.commands import Command
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.pool import DRAIN, NOTIFY, DrainReply, Told, ToldReply
from controller.facts.drain import DrainFacts, over


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

    async def drained(self, uid: str, user_ids: Sequence[str], drain: DrainFacts | None, *, now_ms: int) -> DrainReply:
        """Tell the users of the Match `uid` that the server of their call is drained; None: that it is no longer.

        They are told once about each drain, however long it lasts: the ledger has the latest one.
        """
        keys = self.pool.keys
        names = [keys.match(uid)]
        for user_id in user_ids:
            names += [keys.user(user_id), keys.notify(user_id)]
        args: tuple[str | int, ...] = (now_ms, uid, drain.id if drain is not None else "", *_words(drain))
        return await self.pool.run_fenced(Command(lua.DRAIN, DRAIN, names, args))

    async def stops(self, user_ids: Sequence[str], replica: str, message: str, *, now_ms: int) -> ToldReply:
        """Tell these users' clients that the operator stops; `replica` is its name."""
        fields = ("drain", STOP, "notice", message, "expectedDowntimeSeconds", "", "deadline", "")
        return await self._notify(user_ids, "shutdown", replica, fields, now_ms)

    async def _notify(
        self, user_ids: Sequence[str], kind: str, about: str, fields: tuple[str, ...], now_ms: int
    ) -> ToldReply:
        if not user_ids:
            return Told(0)
        names = [self.pool.keys.notify(user_id) for user_id in user_ids]
        return await self.pool.run_fenced(Command(lua.NOTIFY, NOTIFY, names, (now_ms, kind, about, *fields)))


def _words(drain: DrainFacts | None) -> tuple[str, ...]:
    """The fields of the notice that say what the drain is."""
    told = over("") if drain is None else drain.to_json()
    names = {"type": "drain", "message": "notice"}
    fields = ("type", "message", "expectedDowntimeSeconds", "deadline")
    return tuple(word for field in fields for word in (names.get(field, field), _text(told[field])))


def _text(value: object) -> str:
    return "" if value is None else str(value)
