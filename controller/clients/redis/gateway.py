"""One matchmaking pool as gateways and matchmakers see it: enqueue, leave, beat, reserve.

The operator calls none of this; the sandbox's people and the tests do. A service in another language sends the same
scripts of the package `contract`, or calls them as functions: docs/redis.md. Times are those of the Redis server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from controller.api.states import UserState
from controller.clients.reading import place_ms
from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.records import User, parse_user
from controller.clients.redis.replies.refusals import invalid
from controller.clients.redis.replies.table import ReplyTable, is_replay, pairs

_IDLE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Queued:
    """The user has waited since `score_ms`. `replay`: they waited before the request."""

    score_ms: int
    replay: bool


@dataclass(frozen=True, slots=True)
class Left:
    """The user no longer waits. `replay`: they did not wait before the request."""

    replay: bool


@dataclass(frozen=True, slots=True)
class Busy:
    """A Match holds the user."""

    holder_uid: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The user `id` is blocked."""

    id: str


@dataclass(frozen=True, slots=True)
class Unserved:
    """No operator serves the pool. One that can serve it learns of the request: try again in a second."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another connection speaks for the user: close this one."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Redis knows nothing of the user: to wait, they enter the queue again."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The user's state. `seq` grows with every change; `match` and `match_name` name the Match that holds the user."""

    state: UserState
    match: str
    match_name: str
    room: str
    reason: str
    seq: int


@dataclass(frozen=True, slots=True)
class ReservedPair:
    """All users are reserved for the Match; each has their place in the queue."""

    users: tuple[tuple[str, int], ...]
    replay: bool


@dataclass(frozen=True, slots=True)
class NotQueued:
    """The user `id` does not wait in the queue."""

    id: str


@dataclass(frozen=True, slots=True)
class ReservedElsewhere:
    """The user `id` is reserved for the Match of another name."""

    id: str
    match_name: str


EnqueueReply: TypeAlias = Queued | Busy | Blocked | Unserved
LeaveReply: TypeAlias = Left | Busy | Replaced
BeatReply: TypeAlias = Beat | Unknown | Replaced
ReserveReply: TypeAlias = ReservedPair | NotQueued | ReservedElsewhere | Blocked


def _queued(kind: str, score: str) -> Queued:
    return Queued(place_ms(score), replay=is_replay(kind))


def _left(kind: str) -> Left:
    return Left(replay=is_replay(kind))


def _beat(state: str, match: str, match_name: str, room: str, reason: str, seq: str) -> Beat:
    return Beat(UserState(state), match, match_name, room, reason, int(seq))


def _reserved(kind: str, *rest: str) -> ReservedPair:
    return ReservedPair(tuple((user_id, place_ms(score)) for user_id, score in pairs(rest)), replay=is_replay(kind))


def _released(*user_ids: str) -> tuple[str, ...]:
    return user_ids


def _blocked() -> Blocked:
    return Blocked("")  # the script does not repeat the id


ENQUEUE: Final = ReplyTable[EnqueueReply](
    "enqueue",
    {"OK": _queued, "BUSY": Busy, "BLOCKED": _blocked, "UNSERVED": Unserved, "INVALID": invalid("enqueue")},
)
LEAVE: Final = ReplyTable[LeaveReply](
    "leave", {"OK": _left, "BUSY": Busy, "REPLACED": Replaced, "INVALID": invalid("leave")}
)
BEAT: Final = ReplyTable[BeatReply](
    "beat", {"OK": _beat, "UNKNOWN": Unknown, "REPLACED": Replaced, "INVALID": invalid("beat")}
)
RELEASE: Final = ReplyTable[tuple[str, ...]]("release", {"OK": _released, "INVALID": invalid("release")})
RESERVE: Final = ReplyTable[ReserveReply](
    "reserve",
    {
        "OK": _reserved,
        "NOTQUEUED": NotQueued,
        "RESERVED": ReservedElsewhere,
        "BLOCKED": Blocked,
        "INVALID": invalid("reserve"),
    },
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Requests to one pool. `session` names the connection that speaks for a user; empty: sessions are not checked."""

    redis: Redis
    keys: Keys

    async def enqueue(self, user_id: str, *, session: str = "") -> EnqueueReply:
        """Let the user wait. A user who waits already keeps their place; the newest session speaks for them.

        Raises Invalid for an id that no Match can carry.
        """
        keys = self.keys
        names = [
            keys.queue(),
            keys.reservations(),
            keys.heartbeats(),
            keys.served(),
            keys.user(user_id),
            keys.blocked(user_id),
            keys.notify(user_id),
            keys.events(),
        ]
        raw = await self.redis.run(lua.ENQUEUE, names, [user_id, session])
        reply = ENQUEUE.parse(raw)
        return Blocked(user_id) if isinstance(reply, Blocked) else reply

    async def leave(self, user_id: str, *, session: str = "", idle_seconds: int = _IDLE_SECONDS) -> LeaveReply:
        """Take the user out of the queue. A session that another one has replaced gets `Replaced`."""
        keys = self.keys
        names = [
            keys.queue(),
            keys.reserved(),
            keys.reservations(),
            keys.heartbeats(),
            keys.user(user_id),
            keys.notify(user_id),
            keys.events(),
        ]
        raw = await self.redis.run(lua.LEAVE, names, [user_id, session, idle_seconds * 1000])
        return LEAVE.parse(raw)

    async def beat(self, user_id: str, *, session: str = "", take: bool = False) -> BeatReply:
        """Report that the user's client is connected, and read the user's state.

        The first beat of a new connection says `take`: from then on it speaks for the user, and others get `Replaced`.
        """
        names = [self.keys.user(user_id), self.keys.heartbeats(), self.keys.notify(user_id)]
        raw = await self.redis.run(lua.BEAT, names, [user_id, session, "TAKE" if take else "KEEP"])
        return BEAT.parse(raw)

    async def reserve(self, match_name: str, user_ids: tuple[str, ...], *, ttl_seconds: float) -> ReserveReply:
        """Take all of the users out of the queue for a Match that is about to be created, or none.

        Unless the Match claims them within the TTL, `release_expired` puts them back in their places.
        """
        keys = self.keys
        names = [keys.queue(), keys.reserved(), keys.reservations(), *map(keys.blocked, user_ids)]
        raw = await self.redis.run(lua.RESERVE, names, [match_name, round(ttl_seconds * 1000), *user_ids])
        return RESERVE.parse(raw)

    async def waiting(self, *, limit: int = 100) -> tuple[tuple[str, int], ...]:
        """The users at the head of the queue with their places (ms), the longest waiting first."""
        rows = await self.redis.scored(self.keys.queue(), limit=limit)
        return tuple((user_id, place_ms(score)) for user_id, score in rows)

    async def release_expired(self, *, limit: int = 100) -> tuple[str, ...]:
        """Put users whose reservation has run out back in their places. Returns their ids."""
        keys = self.keys
        names = [keys.queue(), keys.reserved(), keys.reservations()]
        raw = await self.redis.run(lua.RELEASE, names, [limit])
        return RELEASE.parse(raw)

    async def user(self, user_id: str) -> User | None:
        """The whole record of a user; None if there is none."""
        return parse_user(user_id, await self.redis.hash(self.keys.user(user_id)))

    async def tokens(self, match_uid: str, user_id: str) -> str | None:
        """The JSON that the user's client joins with, {token, url, room, identity, expiresAt}; or None."""
        return await self.redis.field(self.keys.tokens(match_uid), user_id)
