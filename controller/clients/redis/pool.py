"""One matchmaking pool as the owner of a shard sees it: the typed requests of the operator.

A `Pool` is bound to a shard, the epoch of its Lease and the incarnation of Redis. Each fenced script names all three,
and a pool that is no longer up to date gets `Stale` or `Lost` and has written nothing. Every request may be repeated:
`act` sends them, `observe` reads. Times are the caller's (`now_ms`), so that one reconcile has one clock; only places
in the queue come from the server's clock. Neighbors: `commands` builds the keys and arguments, `replies` reads the
answers, `inbox` and `outbox` send their own scripts through a Pool.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from controller.clients.reading import place_ms
from controller.clients.redis import commands, lua
from controller.clients.redis.client import Redis
from controller.clients.redis.commands import Command
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from controller.clients.redis.mark import Mark
from controller.clients.redis.records import LiveMatch, RoomRecord
from controller.clients.redis.replies.match import WITNESS, AdvanceReply, ClaimReply, SettleReply, WitnessReply
from controller.clients.redis.replies.pool import (
    INCARNATION,
    RESTORING,
    Incarnation,
    IncarnationReply,
    RoomReply,
    ServeReply,
    TokensReply,
)
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.replies.table import unknown_reply
from controller.clients.redis.requests import AdvanceRequest, ClaimRequest, Served, SettleRequest, Witnessed
from controller.clients.redis.retention import RETENTION, Retention
from controller.facts.ledger import LastEvent, Ledger
from controller.telemetry import tracing

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Pool:
    """The requests. `incarnation` is empty until `ensure_incarnation` has returned it: see `at`.

    All values of one pool under one epoch share a `mark`.
    """

    redis: Redis
    keys: Keys
    shard: int
    epoch: int
    incarnation: str = ""
    retention: Retention = RETENTION
    mark: Mark = field(default_factory=Mark, compare=False, repr=False)

    def at(self, incarnation: Incarnation) -> Pool:
        """The same pool, bound to this incarnation.

        A replica that got `Lost` reads its Lease again before it binds again, because the fence was lost, too.
        """
        return replace(self, incarnation=incarnation.value)

    async def run_fenced(self, command: Command[R]) -> R:
        """Run a fenced script as the owner of the shard. It refuses an older epoch and a Redis that has lost data."""
        keys, number = [*self._fence_keys(), *command.keys], self.mark.next()

        def args() -> list[str | int]:
            # What is known may have grown since the first attempt, which another server may have answered.
            kept = tracing.flag()
            mark = f"{self.epoch}:{number}:{self.mark.known}{f':{kept}' if kept else ''}"
            return [self.incarnation, mark, *command.args]

        reply = command.replies.parse(await self.redis.run(command.script, keys, args))
        if not isinstance(reply, Stale | Lost):
            self.mark.done(number)
        return reply

    def _fence_keys(self) -> tuple[str, str]:
        return self.keys.incarnation(), self.keys.fence(self.shard)

    # Users and ledgers

    async def claim(self, request: ClaimRequest, *, now_ms: int) -> ClaimReply:
        """Take all users for the Match, or none."""
        return await self.run_fenced(commands.claim(self.keys, request, now_ms))

    async def advance(self, request: AdvanceRequest, *, now_ms: int) -> AdvanceReply:
        """Move users forward; publish room, URL and phase."""
        return await self.run_fenced(commands.advance(self.keys, request, now_ms))

    async def settle(self, request: SettleRequest, *, now_ms: int) -> SettleReply:
        """Let go of users; if final, end the Match. The commit point of an ending: the first cause stays."""
        return await self.run_fenced(commands.settle(self.keys, request, self.retention, now_ms))

    async def ledger(self, uid: str) -> Ledger | None:
        """The ledger of a Match; None if there is none."""
        return parse_ledger(uid, await self.redis.hash(self.keys.match(uid)))

    async def holder(self, user_id: str) -> str:
        """UID of the Match that holds the user; empty if none does."""
        return await self.redis.field(self.keys.user(user_id), "match") or ""

    async def live(
        self, *, claimed_before_ms: int | None = None, offset: int = 0, limit: int = 1000
    ) -> tuple[LiveMatch, ...]:
        """Matches that hold users, the oldest first."""
        found = await self.redis.scored(self.keys.live(), at_most=claimed_before_ms, offset=offset, limit=limit)
        return tuple(LiveMatch(uid, place_ms(score)) for uid, score in found)

    # Rooms and tokens

    async def write_room_record(self, record: RoomRecord, *, now_ms: int, knows_call: bool = True) -> RoomReply:
        """Write the record and renew its TTL. A room that is over stays over.

        Unless the caller `knows_call`, session and users stay as they are.
        """
        fields = record.fields(knows_call=knows_call)
        command = commands.room(self.keys, record.livekit_name, record.status, self.retention, now_ms, fields=fields)
        return await self.run_fenced(command)

    async def shut_room_record(self, livekit_name: str, *, now_ms: int) -> RoomReply:
        """Write into the record, if there is one, that the room is being closed."""
        return await self.run_fenced(commands.room(self.keys, livekit_name, "terminating", self.retention, now_ms))

    async def end_room_record(
        self, livekit_name: str, status: str = "terminated", *, now_ms: int, leaves_tombstone: bool = True
    ) -> RoomReply:
        """Close the record, if there is one, and leave a tombstone, whether there was one or not.

        `RoomOver` means that the record already had another final status, which stays.
        """
        command = commands.room(
            self.keys, livekit_name, status, self.retention, now_ms, leaves_tombstone=leaves_tombstone
        )
        return await self.run_fenced(command)

    async def is_tombstoned(self, livekit_name: str) -> bool:
        """Whether this LiveKit room has a tombstone: it must not exist."""
        return await self.redis.text(self.keys.room_deleted(livekit_name)) is not None

    async def put_tokens(self, uid: str, tokens: Mapping[str, str], *, ttl_seconds: int) -> TokensReply:
        """Replace the tokens of a Match: identity to JSON. Refused once the Match is settled."""
        if not tokens:
            raise ValueError("no tokens to put; use delete_tokens to remove them")
        return await self.run_fenced(commands.tokens(self.keys, uid, tokens, ttl_seconds))

    async def has_tokens(self, uid: str) -> bool:
        """Whether tokens of the Match are in Redis."""
        return await self.redis.exists(self.keys.tokens(uid))

    async def delete_tokens(self, uid: str) -> TokensReply:
        """Remove the tokens of a Match."""
        return await self.run_fenced(commands.tokens(self.keys, uid, {}, 0))

    async def serve(self, served: Served) -> ServeReply:
        """Say for some minutes that we serve the pool, so that gateways may let users wait in it."""
        return await self.run_fenced(commands.serve(self.keys, self.shard, served, self.retention))

    # Webhooks

    async def witness(self, seen: Witnessed) -> WitnessReply:
        """Write a LiveKit event to the shard's stream, and to the ledger of a Match that lives.

        Any replica may: this is neither fenced nor bound to an incarnation, and creates no ledger.
        """
        addressed = bool(seen.match_uid and seen.identity)
        names = [self.keys.webhooks(self.shard)]
        if addressed:
            names.append(self.keys.match(seen.match_uid))
        last = LastEvent(seen.event, seen.reason, seen.sid, seen.at_ms, seen.joined_at_ms)
        args: list[str | int] = [
            self.retention.webhook_entries,
            seen.identity,
            seen.event,
            seen.sid,
            seen.at_ms,
            seen.joined_at_ms,
            last.to_json(),
        ]
        for name, value in seen.entry:
            args += [name, value]
        return WITNESS.parse(await self.redis.run(lua.WITNESS, names, args))

    # Incarnations

    async def ensure_incarnation(self) -> Incarnation:
        """The incarnation of Redis; a new one if it has none, so only if nothing must be restored."""
        args = [secrets.token_hex(8), "", "ENSURE"]
        reply = INCARNATION.parse(await self.redis.run(lua.INCARNATION, self._fence_keys(), args))
        if not isinstance(reply, Incarnation):
            raise unknown_reply("incarnation", [type(reply).__name__])
        return reply

    async def begin_restore(self) -> IncarnationReply:
        """Start to rebuild what Redis lost. Only the owner of shard 0 calls it.

        An incarnation that is not `restoring` means that Redis has lost nothing that we know of. Else: bind to it
        (`at`), claim every live Match with mode Restore, then `finish_restore`. All other replicas get `Lost`
        until then. An earlier restore that did not finish is shut out.
        """
        return await self._incarnation("BEGIN", RESTORING + secrets.token_hex(8))

    async def finish_restore(self) -> IncarnationReply:
        """Open the restored pool. `Lost` if the data was lost again meanwhile: begin again."""
        return await self._incarnation("FINISH", self.incarnation)

    async def _incarnation(self, operation: str, value: str) -> IncarnationReply:
        named = replace(self, incarnation=value)
        return await named.run_fenced(Command(lua.INCARNATION, INCARNATION, (), (operation,)))
