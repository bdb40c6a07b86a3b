"""The client of Redis: short timeouts, our own retries, and every error translated.

Commands go over one shared connection. Reads that block have a connection of their own, because they hold up all
commands behind them. redis-py's client is not used: it repeats commands by itself, and its XREAD sometimes ignores a
cancellation. This client repeats a request at most twice, and only a request that is idempotent. It returns an answer
or raises BackendUnavailable or BackendRefused, never an error of redis-py, because those can repeat arguments, and
arguments can be tokens. Neighbors: `wire` is the connection, `clients.request` measures each request, `pool`, `inbox`,
`outbox` and `gateway` are built on this client.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from redis import exceptions

from controller.clients.redis.lua import Script
from controller.clients.redis.wire import Wire
from controller.clients.request import Code, Requests
from controller.errors import Backend, BackendError, BackendRefused, BackendUnavailable, Forbidden

_T = TypeVar("_T")

_RETRY_DELAYS_SECONDS: Final = (0.02, 0.1)
_LONGEST_BLOCK_SECONDS: Final = 30.0

# Answers that mean "not now": the server is starting, failing over, full, or busy with another client's script.
_NOT_NOW: Final = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "MISCONF"}
)
_NO_CONNECTION: Final = "the connection failed; check that Redis runs and that the Redis URL is right"
# Redis asks for no password and gets one: "ERR AUTH <password> called without any password configured …".
_UNASKED_AUTH: Final = "AUTH <password> called without"
_FORBIDDEN: Final = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})
# All error words that become metric labels. Modules and scripts can answer others, so their number is not bounded.
_KNOWN_CODES: Final = _NOT_NOW | _FORBIDDEN | {"ERR", "WRONGTYPE", "EXECABORT", "NOSCRIPT", "MOVED", "ASK", "CROSSSLOT"}
_SCRIPT_LINE: Final = re.compile(r"user_script:(\d+)")
# Redis 6 wraps what a command inside a script answered: "ERR Error running script (…): @user_script: 12: -OOM …".
_SCRIPT_CODE: Final = re.compile(r"Error running script .* -([A-Z]{2,20}) ")


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a stream."""

    stream: str
    id: str
    fields: Mapping[str, str]


class Redis:
    """A server behind a URL. Create it inside a running loop; close it at the end.

    Every method raises BackendUnavailable when the server does not answer or says "not now", and a BackendRefused for
    a refusal.
    """

    def __init__(self, url: str) -> None:
        # The wire keeps the deadline itself, with one timer for all commands.
        self._requests = Requests(Backend.REDIS, _RAISED, transport_keeps_deadline=True)
        self._commands = Wire(url, timeout_seconds=self._requests.limits.deadline_seconds)
        self._reads = Wire(url, timeout_seconds=self._requests.limits.deadline_seconds)

    @classmethod
    def from_url(cls, url: str) -> Redis:
        """Create a client for a `redis://`, `rediss://` or `unix://` URL. It connects at the first request."""
        return cls(url)

    async def close(self) -> None:
        """Close all connections."""
        await self._commands.close()
        await self._reads.close()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> list[str]:
        """Run a script and return its reply. A lost reply makes it run again: every script of ours is idempotent."""
        rest = (len(keys), *keys, *args)

        async def attempt() -> list[str]:
            try:
                answer: list[str] = await self._commands.execute("EVALSHA", script.sha, *rest)
            except exceptions.NoScriptError:
                # The server was restarted or replaced. EVAL loads and runs in one trip.
                answer = await self._commands.execute("EVAL", script.text, *rest)
            return answer

        return await self._repeat(script.name, attempt)

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._ask("PING")

    async def run_id(self) -> str:
        """Return the id of the server process; it is another one after a restart or a failover."""
        info: str = await self._ask("INFO", "server")
        return info.partition("run_id:")[2].partition("\r\n")[0]

    async def info(self) -> dict[str, str]:
        """Return what the server says about itself, by the names of its INFO command."""
        text: str = await self._ask("INFO")
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {name: value for name, _, value in pairs}

    async def hash(self, key: str) -> dict[str, str]:
        """Return all fields of a hash; empty if there is none."""
        flat: list[str] = await self._ask("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def field(self, key: str, name: str) -> str | None:
        """Return one field of a hash; None if it is not there."""
        value: str | None = await self._ask("HGET", key, name)
        return value

    async def scored(
        self, key: str, *, at_most: int | None = None, offset: int = 0, limit: int
    ) -> list[tuple[str, float]]:
        """Return members of a sorted set with their scores, the lowest first."""
        highest = "+inf" if at_most is None else at_most
        flat: list[str] = await self._ask("ZRANGEBYSCORE", key, "-inf", highest, "WITHSCORES", "LIMIT", offset, limit)
        return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]

    async def text(self, key: str) -> str | None:
        """Return a string; None if it is not there."""
        value: str | None = await self._ask("GET", key)
        return value

    async def texts(self, keys: Sequence[str]) -> list[str | None]:
        """Return several strings, with None for each that is not there."""
        values: list[str | None] = await self._ask("MGET", *keys)
        return values

    async def put(self, key: str, value: str, *, ttl_seconds: int | None = None) -> None:
        """Set a string, with or without a TTL."""
        ttl = () if ttl_seconds is None else ("EX", ttl_seconds)
        await self._ask("SET", key, value, *ttl)

    async def trim(self, stream: str, *, keep: int) -> None:
        """Remove all entries of a stream except the newest `keep`, roughly."""
        await self._ask("XTRIM", stream, "MAXLEN", "~", keep)

    async def append(self, stream: str, fields: Mapping[str, str], *, max_entries: int) -> str:
        """Add an entry to a capped stream; return its id. Never repeated, because each attempt would add an entry."""
        flat = [part for pair in fields.items() for part in pair]
        entry_id: str = await self._requests.send(
            "XADD",
            lambda: self._commands.execute("XADD", stream, "MAXLEN", "~", max_entries, "*", *flat),
            lambda error: translate(error, "XADD"),
        )
        return entry_id

    async def last_id(self, stream: str) -> str:
        """Return the id of the last entry. A read after it gets every later entry, independent of any clock."""
        newest = await self._ask("XREVRANGE", stream, "+", "-", "COUNT", 1)
        return newest[0][0] if newest else "0-0"

    async def read_streams(
        self, positions: Mapping[str, str], *, block_seconds: float, count: int = 100
    ) -> tuple[StreamEntry, ...]:
        """Return the entries after the given ids; wait at most `block_seconds` for the first one.

        The result is empty if none came. Only one read at a time: a second one would wait for the first. Never
        repeated: the caller reads again in any case.
        """
        if not 0 < block_seconds <= _LONGEST_BLOCK_SECONDS:
            raise ValueError(f"block_seconds is {block_seconds}: use more than 0, at most {_LONGEST_BLOCK_SECONDS:g}")
        milliseconds = max(1, round(block_seconds * 1000))  # 0 would wait without end
        words: tuple[str | int, ...] = (
            "COUNT",
            count,
            "BLOCK",
            milliseconds,
            "STREAMS",
            *positions,
            *positions.values(),
        )
        try:
            answer = await self._requests.send(
                "XREAD",
                lambda: self._reads.execute("XREAD", *words, block_seconds=block_seconds),
                lambda error: translate(error, "XREAD"),
                waits_seconds=block_seconds,
            )
        except asyncio.CancelledError:
            await self._reads.close()  # otherwise the next read would wait for the end of this one
            raise
        return tuple(
            StreamEntry(stream, entry_id, dict(zip(flat[::2], flat[1::2], strict=True)))
            for stream, entries in answer or ()
            for entry_id, flat in entries
        )

    async def _ask(self, command: str, *words: str | int) -> Any:
        """Send an idempotent command, again if that can help."""
        return await self._repeat(command, lambda: self._commands.execute(command, *words))

    async def _repeat(self, operation: str, attempt: Callable[[], Awaitable[_T]]) -> _T:
        may_have_run = False
        for delay_seconds in (*_RETRY_DELAYS_SECONDS, None):
            try:
                return await self._requests.send(operation, attempt, lambda error: translate(error, operation))
            except BackendError as error:
                may_have_run = error.may_have_run = may_have_run or error.may_have_run
                if delay_seconds is None or not error.retryable:
                    raise
            await asyncio.sleep(delay_seconds)
        raise AssertionError("the last attempt returns or raises")


_RAISED: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


def translate(error: Exception, operation: str) -> BackendError:
    """Return what a library's error means. Its own text is left out, except the code and the line of a script."""
    word = _error_word(error)
    code = word if word in _KNOWN_CODES else Code.OTHER
    if word in _NOT_NOW:  # before ConnectionError: LOADING is one, though the server answered
        return BackendUnavailable(Backend.REDIS, operation, f"the server says not now ({word})", code=code)
    shown = word or "no code"
    if (
        word in _FORBIDDEN
        or _UNASKED_AUTH in str(error)
        or isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError)
    ):
        sentence = f"the credentials are wrong or do not suffice ({shown}); check user and password in the Redis URL"
        return Forbidden(Backend.REDIS, operation, sentence, code=code)
    if isinstance(error, exceptions.ResponseError | exceptions.DataError):
        line = _SCRIPT_LINE.search(str(error))
        where = f" at line {line.group(1)} of the script" if line else ""
        return BackendRefused(Backend.REDIS, operation, f"the server refuses it ({shown}){where}", code=code)
    if isinstance(error, exceptions.TimeoutError):
        return BackendUnavailable(Backend.REDIS, operation, "no answer in time", may_have_run=True, code=Code.TIMEOUT)
    return BackendUnavailable(Backend.REDIS, operation, _NO_CONNECTION, may_have_run=True, code=Code.UNREACHABLE)


def _error_word(error: Exception) -> str:
    """Return the word in capitals that an error begins with; redis-py removes it from some messages."""
    in_script = _SCRIPT_CODE.search(str(error))
    word = in_script[1] if in_script else getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return word if re.fullmatch(r"[A-Z]{2,20}", word) else ""
