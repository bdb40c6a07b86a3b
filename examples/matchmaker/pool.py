"""One pool in Redis: the published scripts and keys of docs/redis.md, for matchmakers and for gateways.

The texts of the scripts come from the package `contract`, which needs nothing else of Roomkeeper.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from redis.cluster import RedisCluster

import contract

from .pairing import Pair, Waiting
from .servers import Client, opener

_RECENT_MS = 600_000


class PoolError(Exception):
    """A script answered INVALID: the request is wrong, no matter what the queue holds."""


@dataclass(frozen=True, slots=True)
class Front:
    """The front of the queue. `is_whole_queue`: no other user waits. `now_ms` is the time of the Redis server."""

    waiting: tuple[Waiting, ...]
    is_whole_queue: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """The users (id, place) who are reserved for the Match `name`."""

    name: str
    users: tuple[tuple[str, int], ...]


class Pool:
    """The pool of `namespace` below the operator's cluster id. It connects with the first request.

    All keys of a pool are in one slot of a cluster: its prefix says so with the braces.
    """

    def __init__(self, url: str, *, cluster_id: str, namespace: str) -> None:
        self.prefix = f"rk:{{{cluster_id}:{namespace}}}:"
        self._connect = opener(url)

    @cached_property
    def _redis(self) -> Client:
        return self._connect()

    @cached_property
    def _scripts(self) -> dict[str, Any]:
        # redis-py calls a script by its digest, and loads it if the server does not know it.
        return {name: self._redis.register_script(contract.script(name)) for name in contract.SCRIPTS}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    # ---- for matchmakers

    def release(self, at_most: int) -> list[str]:
        """Put users whose reservation has run out back in their places. Returns their ids."""
        return self._run("release", self._keys("queue", "reserved", "reservations"), at_most)[1:]

    def front(self, wanted: int, *, most_pages: int = 5) -> Front:
        """The `wanted` users who have waited longest, or fewer if `most_pages` pages of that length hold fewer.

        Banned users stay in the queue until they leave. This skips them, since they would fill its front, and also ids
        that no Match can carry.
        """
        # By id: a user who comes back to the front between two pages moves others to the next page.
        found: dict[str, Waiting] = {}
        is_whole_queue, now_ms = False, self._now_ms()
        page = wanted + 1  # one more tells whether any other user waits
        for start in range(0, page * most_pages, page):
            queue = self._redis.zrange(self._key("queue"), start, start + page - 1, withscores=True)
            rows = cast("list[tuple[str, float]]", queue)
            found |= {person.id: person for person in self._free(rows, now_ms)}
            is_whole_queue = len(rows) < page
            if is_whole_queue or len(found) >= wanted:
                break
        return Front(tuple(found.values())[:wanted], is_whole_queue and len(found) <= wanted, now_ms)

    def _free(self, rows: Sequence[tuple[str, float]], now_ms: int) -> Iterator[Waiting]:
        """The users among `rows` who may be in a Match, with the users they met lately. One round trip for all.

        `now_ms` is the time of the Redis server. The clock of this machine may be wrong.
        """
        with self._pipeline() as pipe:
            for user_id, _ in rows:
                pipe.exists(self._key(f"blocked:{user_id}"))
                pipe.zrangebyscore(self._key(f"recent:{user_id}"), now_ms - _RECENT_MS, "+inf")
            answers = pipe.execute()
        for (user_id, score), blocked, met in zip(rows, answers[::2], answers[1::2], strict=True):
            if not blocked and _is_identity(user_id):
                yield Waiting(user_id, int(score), frozenset(met))

    def reserve(self, wanted: Sequence[tuple[Pair, str]], *, ttl_ms: int) -> list[str]:
        """Take each pair out of the queue for the Match of that name. Returns one answer for each.

        The answer is `new`, `replay` (the same reservation was there before), or the refusal, such as `RESERVED`.
        """
        digest = self._redis.script_load(contract.script("reserve"))
        with self._pipeline() as pipe:
            for pair, name in wanted:
                blocked = [f"blocked:{user_id}" for user_id in pair.ids]
                keys = self._keys("queue", "reserved", "reservations", *blocked)
                pipe.execute_command("EVALSHA", digest, len(keys), *keys, name, ttl_ms, *pair.ids)
            replies = [_checked("reserve", reply) for reply in pipe.execute()]
        return [reply[1] if reply[0] == "OK" else reply[0] for reply in replies]

    def reservations(self, *, ttl_ms: int, older_than_ms: int, at_most: int) -> list[Reservation]:
        """Reservations (for `ttl_ms`) that are older than `older_than_ms`: their Match should exist by now."""
        now_ms = self._now_ms()
        until_ms = now_ms + ttl_ms - older_than_ms
        ids = cast(
            "list[str]",
            self._redis.zrangebyscore(self._key("reserved"), f"({now_ms}", until_ms, start=0, num=at_most),
        )
        if not ids:
            return []
        entries = cast("list[str | None]", self._redis.hmget(self._key("reservations"), ids))
        by_name: dict[str, list[tuple[str, int]]] = {}
        for user_id, entry in zip(ids, entries, strict=True):
            if entry is not None:
                place, name = entry.split(" ", 1)
                by_name.setdefault(name, []).append((user_id, int(place)))
        return [Reservation(name, tuple(users)) for name, users in by_name.items()]

    # ---- for gateways

    def enqueue(self, user_id: str, session: str = "") -> list[str]:
        """Let the user wait. Returns the script's answer."""
        user = (f"user:{user_id}", f"blocked:{user_id}", f"notify:{user_id}")
        keys = self._keys("queue", "reservations", "heartbeats", "served", *user, "events")
        return self._run("enqueue", keys, user_id, session)

    def beat(self, user_id: str, session: str = "", *, take: bool = False) -> list[str]:
        """Report that the user's client is connected. Returns the script's answer: the user's state."""
        keys = self._keys(f"user:{user_id}", "heartbeats", f"notify:{user_id}")
        return self._run("beat", keys, user_id, session, "TAKE" if take else "KEEP")

    def leave(self, user_id: str, session: str = "", *, forget_after_seconds: int = 3600) -> list[str]:
        """Take the user out of the queue. Returns the script's answer."""
        user = (f"user:{user_id}", f"notify:{user_id}")
        keys = self._keys("queue", "reserved", "reservations", "heartbeats", *user, "events")
        return self._run("leave", keys, user_id, session, forget_after_seconds * 1000)

    def token(self, match_uid: str, user_id: str) -> str | None:
        """The JSON with the token that the user's client joins with; None if it is not there (yet)."""
        return cast("str | None", self._redis.hget(self._key(f"tokens:{match_uid}"), user_id))

    def end_of_notices(self, user_ids: Sequence[str]) -> dict[str, str]:
        """The ids of the users' latest notices: `next_notices` reads on from there."""
        with self._pipeline() as pipe:
            for user_id in user_ids:
                pipe.xrevrange(self._key(f"notify:{user_id}"), count=1)
            answers = pipe.execute()
        return {
            user_id: entries[0][0] if entries else "0-0" for user_id, entries in zip(user_ids, answers, strict=True)
        }

    def next_notices(self, read_on: dict[str, str], *, wait_seconds: float) -> Iterator[tuple[str, dict[str, str]]]:
        """The users' notices that are new, each with the user's id; waits for the first one. Updates `read_on`."""
        streams = {self._key(f"notify:{user_id}"): user_id for user_id in read_on}
        positions = {stream: read_on[user_id] for stream, user_id in streams.items()}
        block_ms = max(1, round(wait_seconds * 1000))  # 0 would wait for ever
        for stream, entries in cast("Any", self._redis.xread(cast("Any", positions), block=block_ms)):
            for entry_id, fields in entries:
                read_on[streams[stream]] = entry_id
                yield streams[stream], fields

    def _run(self, name: str, keys: Sequence[str], *args: str | int) -> list[str]:
        return _checked(name, self._scripts[name](keys=keys, args=args))

    def _now_ms(self) -> int:
        """The time of the server that has the pool. Those of other nodes may be others."""
        client: Any = self._redis
        is_cluster = isinstance(self._redis, RedisCluster)
        where = {"target_nodes": client.get_node_from_key(self.prefix)} if is_cluster else {}
        seconds, micros = client.time(**where)
        return int(seconds) * 1000 + int(micros) // 1000

    def _pipeline(self) -> Any:
        return self._redis.pipeline(transaction=False)

    def _key(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def _keys(self, *names: str) -> list[str]:
        return [self._key(name) for name in names]


def _is_identity(user_id: str) -> bool:
    """Whether a Match accepts it as an identity (docs/reference/api.md)."""
    return len(user_id.encode()) <= 256 and all(unicodedata.category(character) != "Cc" for character in user_id)


def _checked(script: str, reply: Any) -> list[str]:
    words = cast("list[str]", reply)
    if words[0] == "INVALID":
        raise PoolError(f"{script} {words[1]}")
    return words
