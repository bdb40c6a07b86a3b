"""The fenced scripts about a Match, its room and its tokens, each with its KEYS, its ARGV and the table of its replies.

A command is a value: `Pool.run_fenced` puts the fence in front of the keys and arguments, and sends it. The header of
each script in `scripts/` says what it expects, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from controller.api.endings import ENDINGS, EndReason
from controller.clients.redis import lua
from controller.clients.redis.keys import Keys
from controller.clients.redis.lua import Script
from controller.clients.redis.replies.match import ADVANCE, CLAIM, SETTLE, AdvanceReply, ClaimReply, SettleReply
from controller.clients.redis.replies.pool import ROOM, SERVE, TOKENS, RoomReply, ServeReply, TokensReply
from controller.clients.redis.replies.table import ReplyTable
from controller.clients.redis.requests import AdvanceRequest, ClaimRequest, Served, SettleRequest
from controller.clients.redis.retention import Retention

R = TypeVar("R")

_REASONS: Final = frozenset(EndReason)


@dataclass(frozen=True, slots=True)
class Command(Generic[R]):
    """A fenced script, the keys and arguments that follow the fence, and the table that reads the reply."""

    script: Script
    replies: ReplyTable[R]
    keys: Sequence[str]
    args: Sequence[str | int]


def claim(keys: Keys, request: ClaimRequest, now_ms: int) -> Command[ClaimReply]:
    """Take all users for the Match, or none."""
    names = [
        keys.queue(),
        keys.reserved(),
        keys.reservations(),
        keys.live(),
        keys.match(request.uid),
        keys.session(request.session_id),
        keys.events(),
    ]
    args: list[str | int] = [
        now_ms,
        request.uid,
        request.mode,
        request.state,
        request.phase,
        request.match_name,
        request.session_id,
        request.room,
        request.url,
        0 if request.made_ms is None else max(0, now_ms - request.made_ms),
    ]
    for user in request.users:
        names += [keys.user(user.id), keys.blocked(user.id), keys.notify(user.id), *_flags(keys, user.id)]
        args += [user.id, user.alias or user.id, "" if user.queued_at_ms is None else user.queued_at_ms]
    return Command(lua.CLAIM, CLAIM, names, args)


def advance(keys: Keys, request: AdvanceRequest, now_ms: int) -> Command[AdvanceReply]:
    """Move users forward; publish room, URL and phase."""
    missing = dict(request.missing)
    names = [keys.match(request.uid), keys.events()]
    args: list[str | int] = [
        now_ms,
        request.uid,
        request.phase,
        request.room,
        request.url,
        request.session_id,
        "" if request.alone is None else int(request.alone),
        request.flag_seconds * 1000 or "",
        request.restored,
    ]
    for user_id, state in request.users:
        names += [keys.user(user_id), keys.force_disconnect(user_id), keys.notify(user_id)]
        args += [user_id, state, (missing[user_id] or 0) if user_id in missing else ""]
    return Command(lua.ADVANCE, ADVANCE, names, args)


def settle(keys: Keys, request: SettleRequest, retention: Retention, now_ms: int) -> Command[SettleReply]:
    """Let go of users; if final, end the Match."""
    cause = request.cause
    names = [
        keys.queue(),
        keys.reserved(),
        keys.reservations(),
        keys.heartbeats(),
        keys.live(),
        keys.match(request.uid),
        keys.session(request.session_id),
        keys.events(),
        keys.disconnects(),
    ]
    args: list[str | int] = [
        now_ms,
        request.uid,
        int(request.final),
        retention.settled_match_seconds * 1000,
        retention.idle_user_seconds * 1000,
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
            *_flags(keys, user.id),
        ]
        args += [user.id, user.to, user.place.record, user.detail]
    return Command(lua.SETTLE, SETTLE, names, args)


def room(
    keys: Keys,
    livekit_name: str,
    status: str,
    retention: Retention,
    now_ms: int,
    *,
    fields: Sequence[tuple[str, str]] = (),
    leaves_tombstone: bool = False,
) -> Command[RoomReply]:
    """Set the status of a room's record, with the other `fields` of the record if there are any."""
    names = [keys.room(livekit_name), keys.room_deleted(livekit_name), keys.events()]
    tombstone_ms = retention.tombstone_seconds * 1000 if leaves_tombstone else ""
    args: list[str | int] = [now_ms, retention.room_record_seconds * 1000, tombstone_ms, status]
    for name, value in fields:
        args += [name, value]
    return Command(lua.ROOM, ROOM, names, args)


def tokens(keys: Keys, uid: str, by_identity: Mapping[str, str], ttl_seconds: int) -> Command[TokensReply]:
    """Replace the tokens of a Match; none removes them."""
    args: list[str | int] = [ttl_seconds * 1000]
    for identity, token in by_identity.items():
        args += [identity, token]
    return Command(lua.TOKENS, TOKENS, [keys.match(uid), keys.tokens(uid)], args)


def serve(keys: Keys, shard: int, served: Served, retention: Retention) -> Command[ServeReply]:
    """Say who serves the pool, and keep what has no end of its own."""
    kept = (
        *(keys.incarnation(), keys.fence(shard), keys.signals_done(), keys.webhooks(shard)),
        *(keys.signals(), keys.events(), keys.disconnects()),
    )
    times = (retention.served_seconds * 1000, retention.unserved_pool_seconds * 1000)
    args = (served.version, f"{served.heartbeat_seconds:g}", keys.namespace, *times)
    return Command(lua.SERVE, SERVE, (keys.served(), *kept), args)


def _flags(keys: Keys, user_id: str) -> tuple[str, ...]:
    """The flags of older clients, in the order in which claim and settle expect them."""
    return (keys.force_disconnect(user_id), keys.skip_in_progress(user_id), keys.pre_skip(user_id))


def _sentences(reason: str) -> tuple[str, str]:
    """What the participants read about the end: all of them, and the one who caused it."""
    ending = ENDINGS.get(EndReason(reason)) if reason in _REASONS else None
    return (ending.notice, ending.own_notice) if ending is not None else ("", "")
