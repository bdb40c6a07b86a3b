"""One matchmaking pool as the owner of a shard sees it: the typed calls of the operator.

A `Pool` is bound to a shard, the epoch of its Lease and the incarnation of Redis; each write names all three,
and a pool that is no longer up to date gets `Stale` or `Lost` and has written nothing. Every call may be
repeated: `act` sends them, `observe` reads. Times are the caller's (`now_ms`), so that one reconcile has one
clock; only places in the queue come from the server's clock, as all of them do.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.api.endings import ENDINGS, EndReason
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.ledger import parse_ledger
from controller.clients.redis.records import LiveMatch, RoomRecord, User, parse_user
from controller.clients.redis.replies.operator import (
    RESTORING,
    AdvanceReply,
    ClaimReply,
    Incarnation,
    IncarnationReply,
    RoomReply,
    SettleReply,
    TokensReply,
    WitnessReply,
    parse_advance,
    parse_claim,
    parse_incarnation,
    parse_release,
    parse_room,
    parse_settle,
    parse_tokens,
    parse_witness,
)
from controller.clients.redis.replies.table import unknown_reply
from controller.clients.redis.requests import AdvanceRequest, ClaimRequest, SettleRequest, Witnessed
from controller.facts.ledger import LastEvent, Ledger

_DAY_SECONDS = 86_400
_REASONS = frozenset(EndReason)
_OF_THE_CALL = frozenset({"sessionID", "user1", "user2"})


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things stay that are over.

    A settled ledger answers replays and refuses late claims, so it must outlive whatever may still ask: a day
    at least. The tombstone of a room must outlive every token that opens it.
    """

    settled_match_seconds: int = _DAY_SECONDS
    idle_user_seconds: int = 3600
    room_record_seconds: int = 7200
    tombstone_seconds: int = _DAY_SECONDS
    webhook_entries: int = 10_000

    def __post_init__(self) -> None:
        if self.settled_match_seconds < _DAY_SECONDS:
            raise ValueError(
                f"settled_match_seconds is {self.settled_match_seconds}: use {_DAY_SECONDS} (a day) or more"
            )


@dataclass(frozen=True, slots=True)
class Pool:
    """The calls. `incarnation` is empty until `ensure_incarnation` told it: see `at`."""

    redis: Redis
    keys: Keys
    shard: int
    epoch: int
    incarnation: str = ""
    retention: Retention = Retention()

    def at(self, incarnation: Incarnation) -> Pool:
        """The same pool, bound to this incarnation.

        A replica that got `Lost` reads its Lease again before it binds again, because the fence was lost, too.
        """
        return replace(self, incarnation=incarnation.value)

    # Users and ledgers

    async def claim(self, request: ClaimRequest, *, now_ms: int) -> ClaimReply:
        """Take all users for the Match, or none."""
        keys = self.keys
        names = [
            *self.fence(),
            keys.queue(),
            keys.reserved(),
            keys.reservations(),
            keys.live(),
            keys.match(request.uid),
            keys.session(request.session_id),
            keys.events(),
        ]
        args: list[str | int] = [
            *self.credentials(),
            now_ms,
            request.uid,
            request.mode,
            request.state,
            request.phase,
            request.match_name,
            request.session_id,
            request.room,
            request.url,
        ]
        for user in request.users:
            names += [keys.user(user.id), keys.blocked(user.id), keys.notify(user.id), *self._flags(user.id)]
            args += [user.id, "" if user.queued_at_ms is None else user.queued_at_ms]
        return parse_claim(await self.redis.run(lua.CLAIM, names, args))

    async def advance(self, request: AdvanceRequest, *, now_ms: int) -> AdvanceReply:
        """Move users forward; publish room, url and phase."""
        keys, missing = self.keys, dict(request.missing)
        names = [*self.fence(), keys.match(request.uid), keys.events()]
        args: list[str | int] = [
            *self.credentials(),
            now_ms,
            request.uid,
            request.phase,
            request.room,
            request.url,
            request.session_id,
            "" if request.alone is None else int(request.alone),
            request.flag_seconds * 1000 or "",
        ]
        for user_id, state in request.users:
            names += [keys.user(user_id), keys.force_disconnect(user_id), keys.notify(user_id)]
            args += [user_id, state, (missing[user_id] or 0) if user_id in missing else ""]
        return parse_advance(await self.redis.run(lua.ADVANCE, names, args))

    async def settle(self, request: SettleRequest, *, now_ms: int) -> SettleReply:
        """Let go of users; if final, end the Match. The commit point of an ending: the first cause stays."""
        keys, cause = self.keys, request.cause
        names = [
            *self.fence(),
            keys.queue(),
            keys.heartbeats(),
            keys.live(),
            keys.match(request.uid),
            keys.session(request.session_id),
            keys.events(),
            keys.disconnects(),
        ]
        args: list[str | int] = [
            *self.credentials(),
            now_ms,
            request.uid,
            int(request.final),
            self.retention.settled_match_seconds * 1000,
            self.retention.idle_user_seconds * 1000,
            cause.reason,
            cause.initiator,
            cause.message,
            cause.evidence,
            request.replaces,
            request.match_name,
            request.session_id,
            *_sentences(cause.reason),
        ]
        for user in request.users:
            names += [
                keys.user(user.id),
                keys.blocked(user.id),
                keys.recent(user.id),
                keys.notify(user.id),
                *self._flags(user.id),
            ]
            args += [user.id, user.to, user.place.record, user.detail]
        return parse_settle(await self.redis.run(lua.SETTLE, names, args))

    async def ledger(self, uid: str) -> Ledger | None:
        """The ledger of a Match; None if there is none."""
        return parse_ledger(uid, await self.redis.hash(self.keys.match(uid)))

    async def user(self, user_id: str) -> User | None:
        """The state of a user; None if nothing is known of them."""
        return parse_user(user_id, await self.redis.hash(self.keys.user(user_id)))

    async def holder(self, user_id: str) -> str:
        """UID of the Match that holds the user; empty if none does."""
        return await self.redis.field(self.keys.user(user_id), "match") or ""

    async def live(
        self, *, claimed_before_ms: int | None = None, offset: int = 0, limit: int = 1000
    ) -> tuple[LiveMatch, ...]:
        """Matches that hold users, the oldest first."""
        rows = await self.redis.scored(self.keys.live(), at_most=claimed_before_ms, offset=offset, limit=limit)
        return tuple(LiveMatch(uid, int(score)) for uid, score in rows)

    async def release_expired(self, *, limit: int = 100) -> tuple[str, ...]:
        """Put users whose reservation ran out back to their place in the queue; who they were."""
        keys = self.keys
        raw = await self.redis.run(lua.RELEASE, [keys.queue(), keys.reserved(), keys.reservations()], [limit])
        return parse_release(raw)

    # Rooms and tokens

    async def write_room_record(self, record: RoomRecord, *, now_ms: int, knows_call: bool = True) -> RoomReply:
        """Write the record and renew its TTL. A room that is over stays over.

        Unless the caller `knows_call`, session and users stay as they are.
        """
        fields = record.fields() if knows_call else tuple(f for f in record.fields() if f[0] not in _OF_THE_CALL)
        return await self._room(record.livekit_name, record.status, now_ms, fields)

    async def shut_room_record(self, livekit_name: str, *, now_ms: int) -> RoomReply:
        """Tell in the record, if there is one, that the room is being closed."""
        return await self._room(livekit_name, "terminating", now_ms)

    async def end_room_record(self, livekit_name: str, status: str = "terminated", *, now_ms: int) -> RoomReply:
        """Close the record, if there is one, and leave a tombstone in any case. `RoomOver` if the record's last word
        is another one.
        """
        return await self._room(livekit_name, status, now_ms, tombstone_ms=self.retention.tombstone_seconds * 1000)

    async def is_tombstoned(self, livekit_name: str) -> bool:
        """Whether this LiveKit room has a tombstone: it must not exist."""
        return await self.redis.text(self.keys.room_deleted(livekit_name)) is not None

    async def put_tokens(self, uid: str, tokens: Mapping[str, str], *, ttl_seconds: int) -> TokensReply:
        """Replace the tokens of a Match: identity to JSON. Refused once the Match is settled."""
        if not tokens:
            raise ValueError("no tokens to put; use delete_tokens to remove them")
        return await self._tokens(uid, tokens, ttl_seconds)

    async def delete_tokens(self, uid: str) -> TokensReply:
        """Remove the tokens of a Match."""
        return await self._tokens(uid, {}, 0)

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
        return parse_witness(await self.redis.run(lua.WITNESS, names, args))

    # Incarnation

    async def ensure_incarnation(self) -> Incarnation:
        """The incarnation of Redis; a new one if it has none, so only if nothing must be restored."""
        reply = await self._incarnation("ENSURE", secrets.token_hex(8))
        if not isinstance(reply, Incarnation):
            raise unknown_reply("incarnation", [type(reply).__name__])
        return reply

    async def current_incarnation(self) -> str:
        """Which life of Redis this is by its own word; empty if it has lost its data. Compare with `incarnation`."""
        return await self.redis.text(self.keys.incarnation()) or ""

    async def begin_restore(self) -> IncarnationReply:
        """Start to rebuild what Redis lost. The owner of shard 0 calls it, and nobody else.

        An incarnation that is not `restoring` means that there is nothing to restore. Else: bind to it
        (`at`), claim every live Match with mode Restore, then `finish_restore`. Everybody else gets `Lost`
        until then. An earlier restore that did not finish is shut out.
        """
        return await self._incarnation("BEGIN", RESTORING + secrets.token_hex(8))

    async def finish_restore(self) -> IncarnationReply:
        """Open the restored pool. `Lost` if the data was lost again meanwhile: begin again."""
        return await self._incarnation("FINISH", self.incarnation)

    # How the calls are made

    def fence(self) -> list[str]:
        """The first keys of every fenced script."""
        return [self.keys.incarnation(), self.keys.fence(self.shard)]

    def credentials(self) -> list[str | int]:
        """The first arguments of every fenced script."""
        return [self.incarnation, self.epoch]

    def _flags(self, user_id: str) -> list[str]:
        keys = self.keys
        return [keys.force_disconnect(user_id), keys.skip_in_progress(user_id), keys.pre_skip(user_id)]

    async def _room(
        self,
        livekit_name: str,
        status: str,
        now_ms: int,
        fields: tuple[tuple[str, str], ...] = (),
        *,
        tombstone_ms: int = 0,
    ) -> RoomReply:
        keys = self.keys
        names = [*self.fence(), keys.room(livekit_name), keys.room_deleted(livekit_name), keys.events()]
        ttl_ms = self.retention.room_record_seconds * 1000
        args: list[str | int] = [*self.credentials(), now_ms, ttl_ms, tombstone_ms or "", status]
        for name, value in fields:
            args += [name, value]
        return parse_room(await self.redis.run(lua.ROOM, names, args))

    async def _tokens(self, uid: str, tokens: Mapping[str, str], ttl_seconds: int) -> TokensReply:
        names = [*self.fence(), self.keys.match(uid), self.keys.tokens(uid)]
        args: list[str | int] = [*self.credentials(), ttl_seconds * 1000]
        for identity, token in tokens.items():
            args += [identity, token]
        return parse_tokens(await self.redis.run(lua.TOKENS, names, args))

    async def _incarnation(self, operation: str, value: str) -> IncarnationReply:
        raw = await self.redis.run(lua.INCARNATION, self.fence(), [value, self.epoch, operation])
        return parse_incarnation(raw)


def _sentences(reason: str) -> tuple[str, str]:
    """What the people in the call are told of its end, and what those to whom it goes back."""
    ending = ENDINGS.get(EndReason(reason)) if reason in _REASONS else None
    return (ending.notice, ending.own_notice) if ending is not None else ("", "")
