"""The connection to Redis: short timeouts, our own retries, and every error translated.

Commands go over `wire`, one shared connection; a read that blocks has one of its own, since it holds up what is sent
after it. (redis-py's client serves neither: it repeats commands behind one's back, and a cancelled XREAD of it now and
then goes on as if nothing had been.) Here a call is repeated at most twice, and only one that may be repeated. What
leaves this module is an answer, `BackendUnavailable` or `BackendRefused`, never a redis-py error: its messages can
repeat arguments, and arguments can be tokens.
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
from controller.errors import Backend, BackendError, BackendRefused, BackendUnavailable, Forbidden

_T = TypeVar("_T")

_SOCKET_TIMEOUT_SECONDS: Final = 1.0
_RETRY_DELAYS_SECONDS: Final = (0.02, 0.1)
_LONGEST_BLOCK_SECONDS: Final = 30.0

# Answers that mean "not now": the server is starting, failing over, full, or held up by somebody's script.
_NOT_NOW: Final = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "MISCONF"}
)
_FORBIDDEN: Final = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})
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
    """A server behind a URL. Make it inside a running loop; close it at the end."""

    def __init__(self, url: str) -> None:
        self._commands = Wire(url, timeout_seconds=_SOCKET_TIMEOUT_SECONDS)
        self._reads = Wire(url, timeout_seconds=_SOCKET_TIMEOUT_SECONDS)

    @classmethod
    def from_url(cls, url: str) -> Redis:
        """For `redis://`, `rediss://` and `unix://` URLs. Nothing is sent before the first call."""
        return cls(url)

    async def close(self) -> None:
        """Close all connections."""
        await self._commands.close()
        await self._reads.close()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> list[str]:
        """Run a script, again if its reply was lost: every script of ours is idempotent."""
        rest = (len(keys), *keys, *args)

        async def call() -> list[str]:
            try:
                answer: list[str] = await self._commands.execute("EVALSHA", script.sha, *rest)
            except exceptions.NoScriptError:
                # The server was restarted or replaced. EVAL loads and runs in one trip.
                answer = await self._commands.execute("EVAL", script.text, *rest)
            return answer

        return await _repeat(script.name, call)

    async def ping(self) -> None:
        """Raise BackendUnavailable or BackendRefused unless the server answers."""
        await _repeat("PING", lambda: self._command("PING"))

    async def run_id(self) -> str:
        """Which server process answers: another one after a restart or a failover."""
        info: str = await _repeat("INFO", lambda: self._command("INFO", "server"))
        return info.partition("run_id:")[2].partition("\r\n")[0]

    async def hash(self, key: str) -> dict[str, str]:
        """All fields of a hash; empty if there is none."""
        flat: list[str] = await _repeat("HGETALL", lambda: self._command("HGETALL", key))
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def field(self, key: str, name: str) -> str | None:
        """One field of a hash."""
        value: str | None = await _repeat("HGET", lambda: self._command("HGET", key, name))
        return value

    async def scored(
        self, key: str, *, at_most: int | None = None, offset: int = 0, limit: int
    ) -> list[tuple[str, float]]:
        """Members of a sorted set with their scores, the lowest first."""
        highest = "+inf" if at_most is None else at_most
        flat: list[str] = await _repeat(
            "ZRANGEBYSCORE",
            lambda: self._command("ZRANGEBYSCORE", key, "-inf", highest, "WITHSCORES", "LIMIT", offset, limit),
        )
        return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]

    async def text(self, key: str) -> str | None:
        """A string."""
        value: str | None = await _repeat("GET", lambda: self._command("GET", key))
        return value

    async def texts(self, keys: Sequence[str]) -> list[str | None]:
        """Several strings, None for each that is not there."""
        values: list[str | None] = await _repeat("MGET", lambda: self._command("MGET", *keys))
        return values

    async def put(self, key: str, value: str, *, ttl_seconds: int | None = None) -> None:
        """Set a string that goes by itself, or stays."""
        ttl = () if ttl_seconds is None else ("EX", ttl_seconds)
        await _repeat("SET", lambda: self._command("SET", key, value, *ttl))

    async def trim(self, stream: str, *, keep: int) -> None:
        """Drop all but the newest `keep` entries of a stream, roughly."""
        await _repeat("XTRIM", lambda: self._command("XTRIM", stream, "MAXLEN", "~", keep))

    async def append(self, stream: str, fields: Mapping[str, str], *, max_entries: int) -> str:
        """Add an entry to a capped stream; its id. Not repeated: each time would add another one."""
        flat = [part for pair in fields.items() for part in pair]
        try:
            entry_id: str = await self._command("XADD", stream, "MAXLEN", "~", max_entries, "*", *flat)
        except _RAISED as error:
            raise translate(error, "XADD") from None
        return entry_id

    async def last_id(self, stream: str) -> str:
        """Where a stream ends: whoever reads on from here gets what is written from now on, whatever the clocks say."""
        newest = await _repeat("XREVRANGE", lambda: self._command("XREVRANGE", stream, "+", "-", "COUNT", 1))
        return newest[0][0] if newest else "0-0"

    async def read_streams(
        self, positions: Mapping[str, str], *, block_seconds: float, count: int = 100
    ) -> tuple[StreamEntry, ...]:
        """Entries after the given ids, waiting for the first for at most `block_seconds`; empty if none came.

        One read at a time: a second one would wait for the first.
        """
        if not 0 < block_seconds <= _LONGEST_BLOCK_SECONDS:
            raise ValueError(f"block_seconds is {block_seconds}: use more than 0, at most {_LONGEST_BLOCK_SECONDS:g}")
        milliseconds = max(1, round(block_seconds * 1000))  # 0 would wait for ever
        try:
            answer = await self._reads.execute(
                "XREAD",
                *("COUNT", count, "BLOCK", milliseconds),
                *("STREAMS", *positions, *positions.values()),
                block_seconds=block_seconds,
            )
        except asyncio.CancelledError:
            await self._reads.close()  # the next read would have to wait for this one's end
            raise
        except _RAISED as error:
            raise translate(error, "XREAD") from None
        return tuple(
            StreamEntry(stream, entry_id, dict(zip(flat[::2], flat[1::2], strict=True)))
            for stream, entries in answer or ()
            for entry_id, flat in entries
        )

    async def _command(self, *words: str | int) -> Any:
        return await self._commands.execute(*words)


_RAISED: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


def translate(error: Exception, operation: str) -> BackendError:
    """What a library's error means. Its own text is left out, but for the code and the line of a script."""
    code = _code(error)
    if code in _NOT_NOW:  # before ConnectionError: LOADING is one, though the server answered
        return BackendUnavailable(Backend.REDIS, operation, f"the server says not now ({code})")
    if code in _FORBIDDEN or isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return Forbidden(Backend.REDIS, operation, f"the credentials are wrong or do not suffice ({code or 'no code'})")
    if isinstance(error, exceptions.ResponseError | exceptions.DataError):
        line = _SCRIPT_LINE.search(str(error))
        where = f" at line {line.group(1)} of the script" if line else ""
        return BackendRefused(Backend.REDIS, operation, f"the server refuses it ({code or 'no code'}){where}")
    what = "no answer in time" if isinstance(error, exceptions.TimeoutError) else "the connection failed"
    return BackendUnavailable(Backend.REDIS, operation, what, may_have_run=True)


def _code(error: Exception) -> str:
    """The word in capitals that an error begins with; redis-py cuts it off some messages."""
    in_script = _SCRIPT_CODE.search(str(error))
    code = in_script[1] if in_script else getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return code if re.fullmatch(r"[A-Z]{2,20}", code) else ""


async def _repeat(operation: str, call: Callable[[], Awaitable[_T]]) -> _T:
    """Make an idempotent call, and make it again where that can help."""
    may_have_run = False
    for delay_seconds in (*_RETRY_DELAYS_SECONDS, None):
        try:
            return await call()
        except _RAISED as error:
            translated = translate(error, operation)
            may_have_run = translated.may_have_run = may_have_run or translated.may_have_run
            if delay_seconds is None or not translated.retryable:
                raise translated from None
        await asyncio.sleep(delay_seconds)
    raise AssertionError("the last attempt returns or raises")
